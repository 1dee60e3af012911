"""An editor behind a server with OpenAI's interface for edits: what a user may say of it."""

from typing import Any, Literal

from lockstep.editors.protocol import Editor
from lockstep.editors.settings import ServedEditorSettings
from lockstep.records import Sample


class OpenAIImagesSettings(ServedEditorSettings):
    """A model behind a server with OpenAI's interface for image edits."""

    type: Literal["openai_images"]

    def identity(self, sample: Sample) -> dict[str, Any]:
        # not where the server is: the same model at another address is the same editor
        return self.model_dump(mode="json", include={"model", "revision", "request"})

    def load(self, torch_device: str) -> Editor:
        from lockstep.editors.openai_images.editor import OpenAIImagesEditor

        return OpenAIImagesEditor(self)
