"""A server as Python users write one: FastAPI, `transformers`, AdapterHub's `adapters`. One model, whose active adapter is state,
so that a lock guards each answer.

    python peer_fastapi.py MODEL_DIR ADAPTER_DIR --port N --threads N
"""

import argparse
import json
import logging
import sys
import threading
import warnings
from pathlib import Path

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "compare"))
from peer_torch import reference  # noqa: E402


class Asked(BaseModel):
    inputs: list[str]


def application(model, tokenizer, labels):
    app, lock = FastAPI(), threading.Lock()

    @app.post("/predict")
    def predict(asked: Asked):
        encoded = tokenizer.encode(*asked.inputs)
        ids, types = torch.tensor([encoded.ids]), torch.tensor([encoded.type_ids])
        with lock, torch.inference_mode():
            out = model.bert(input_ids=ids, token_type_ids=types)
            logits = model.head(out.last_hidden_state.mean(1))
        scores = torch.softmax(logits, -1)[0].tolist()
        return {"label": labels[max(range(len(scores)), key=scores.__getitem__)], "probabilities": dict(zip(labels, scores))}

    return app


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("adapter")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(arguments.threads)
    adapter = Path(arguments.adapter)
    manifest = json.loads((adapter / "adapter.json").read_text())
    settings = {key: manifest["adapter"][key] for key in ("bottleneck", "activation", "pooling")}
    model = reference(Path(arguments.model), adapter / "adapter.safetensors", settings, "sdpa")
    model.eval()
    tokenizer = Tokenizer.from_file(str(Path(arguments.model) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(manifest["max_length"])
    app = application(model, tokenizer, manifest["task"]["labels"])
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="error")


if __name__ == "__main__":
    main()
