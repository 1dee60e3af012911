"""The Chinese README says the same as the English one, as far as a test can tell."""

import re

from tests import documents

ENGLISH, CHINESE = "README.md", "README.zh-CN.md"


def without_comments(block):
    if block.language in ("yaml", "python"):
        return re.sub(r"\s+#.*", "", block.text)
    return block.text


def test_both_readmes_have_the_same_headings_blocks_tables_and_pictures():
    def shape(document):
        text = documents.read(document)
        return {
            "headings": [level for level, _ in documents.headings(document)],
            "blocks": [
                (block.language, block.file, without_comments(block))
                for block in documents.blocks(document)
            ],
            "rows": [table.count("\n") for table in re.findall(r"(?:^\|.*\n)+", text, re.M)],
            "pictures": re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text),
            "numbers of tables": [
                re.findall(r"\d+(?:\.\d+)?", row) for row in re.findall(r"^\|.*", text, re.M)
            ],
        }

    english, chinese = shape(ENGLISH), shape(CHINESE)
    for part, found in english.items():
        assert chinese[part] == found, part


def test_both_readmes_lead_to_the_same_places():
    def places(document):
        return [link.partition("#")[0] for link in documents.links(document)]

    english, chinese = places(ENGLISH), places(CHINESE)
    english[english.index(CHINESE)] = ENGLISH
    assert sorted(english) == sorted(chinese)
