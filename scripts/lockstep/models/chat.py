"""Chats with a model behind a server with the OpenAI interface: one request, one reply.

A reply counts only if the server says that it ended by itself, or says nothing of its end; what
else an answer holds may be of any form.
"""

import base64
import io
from typing import Any, ClassVar

from PIL import Image
from pydantic_core import from_json

from lockstep.foreign.transport import Answer, Failed, Passing
from lockstep.models.answers import failure_of, problem_in, words_in
from lockstep.models.backend import Usage
from lockstep.models.client import ServedModel
from lockstep.models.completions import (
    BROKEN,
    NO_COMPLETION,
    Completion,
    completion_in,
    ended,
    fault_of,
)
from lockstep.models.served_settings import ServedSettings

LONGEST_ANSWER = 4 * 2**20
"""Most bytes of an answer; a reply has some kilobytes, a long reasoning some hundred."""

FREE = Usage(0, 0)
"""What an error takes."""


class ChatModel(ServedModel):
    """A client of a server, as `ServedModel` is."""

    doing: ClassVar[str]
    """What the server is asked to do: judge or rewrite."""
    length: ClassVar[str]
    """Setting that limits a reply."""

    def __init__(self, settings: ServedSettings) -> None:
        super().__init__(settings, LONGEST_ANSWER)

    def _complete(self, body: dict[str, Any]) -> tuple[Completion | None, Failed | None]:
        """Return what a server answers to a request, and why it holds no reply to read.

        Raises:
            ServerError: if no request can bring one.
        """
        try:
            completion = self._client.post("chat/completions", body, self._read)
        except Failed as error:
            self._count(error)
            return None, error
        length, request = f"{self.option}.{self.length}", f"{self.option}.request"
        fault = fault_of(completion.choices[0], self.doing, length, request)
        self._count(fault)
        return completion, fault

    def _read(self, answer: Answer) -> Completion:
        """Return the completion that an answer holds.

        Raises:
            Failed: if it holds none; `Passing`, if another try may bring one.
            ServerError: if no request can bring one.
        """
        asked = {"option": self.option, "doing": self.doing}
        try:
            given = from_json(answer.text)
        except ValueError as error:
            if not answer.good:
                self._use(FREE)
                raise failure_of({}, answer, **asked) from None
            # it was cut off on its way
            raise Passing(f"{NO_COMPLETION} no JSON: {error} ({answer.said})") from None
        problem = problem_in(given)
        if problem is not None or not answer.good:
            self._use(FREE)
            raise failure_of(problem or {}, answer, **asked)
        completion = completion_in(given, answer)
        self._use(completion.tokens)
        choice = completion.choices[0]
        if choice.error:
            raise failure_of(problem_in({"error": choice.error}) or {}, answer, **asked)
        if BROKEN & words_in(choice.finish_reason):
            raise Passing(ended(choice))
        return completion


def image_part(image: Image.Image) -> dict[str, Any]:
    """Return an image as the part of a message; PNG, so that no pixel changes."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    data = base64.b64encode(buffer.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
