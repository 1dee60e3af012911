if CONFIG.judge.protocol_file is not None:

    rule protocol:
        input:
            protocol=CONFIG.judge.protocol_file,
            tables=RUN.tables,
            because=because(RUN.protocol[0]),
        output:
            RUN.protocol,
        log:
            f"{RESULTS}/logs/protocol.log",
        conda:
            "../envs/report.yaml"
        resources:
            **CPU_CLAIMS,
        message:
            "summing up by {input.protocol}"
        script:
            "../scripts/rules/sum_up_protocol.py"
