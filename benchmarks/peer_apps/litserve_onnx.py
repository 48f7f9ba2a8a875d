"""LitServe and ONNX Runtime: one worker for each CPU."""

import sys
from typing import Any

import litserve
from fastapi import Request
from pipeline import Pipeline


class Classify(litserve.LitAPI):  # type: ignore[misc]
    """A form's image in, its classes out."""

    def setup(self, device: str) -> None:
        """Load the model in a worker."""
        self.pipeline = Pipeline()

    def decode_request(self, request: Request) -> Any:
        """The file of the form, as which the request arrives."""
        return request["image"].file  # type: ignore[index]

    def predict(self, x: Any) -> dict[str, Any]:
        """Classify."""
        return self.pipeline(x)

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """It is JSON already."""
        return output


if __name__ == "__main__":
    port, cpus = int(sys.argv[1]), int(sys.argv[2])
    server = litserve.LitServer(Classify(api_path="/classify"), accelerator="cpu", workers_per_device=cpus)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning")
