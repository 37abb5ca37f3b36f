"""Lets transformers' Trainer go on with a run: check_resume.py CHECKPOINT

It saves at its end, which is where it looks up the states of its callbacks.
"""

import json
import sys
import tempfile
from pathlib import Path

import torch
from transformers import (
    EarlyStoppingCallback,
    Trainer,
    TrainingArguments,
    ViTForImageClassification,
)

checkpoint = Path(sys.argv[1])
state = json.loads((checkpoint / "trainer_state.json").read_text())
model = ViTForImageClassification.from_pretrained(checkpoint)
side, classes = model.config.image_size, model.config.num_labels
images = [
    {"pixel_values": torch.rand(3, side, side), "labels": i % classes} for i in range(100)
]
with tempfile.TemporaryDirectory() as folder:
    arguments = TrainingArguments(
        output_dir=folder,
        max_steps=state["max_steps"],
        per_device_train_batch_size=state["train_batch_size"],
        eval_strategy="steps",
        eval_steps=state["eval_steps"],
        save_steps=state["save_steps"],
        metric_for_best_model="loss",
        load_best_model_at_end=False,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
    )
    trainer = Trainer(
        model,
        arguments,
        train_dataset=images,
        eval_dataset=images[:20],
        callbacks=[EarlyStoppingCallback(early_stopping_patience=9)],
    )
    trainer.train(resume_from_checkpoint=str(checkpoint))
    done = trainer.state.global_step
    last = Path(folder) / f"checkpoint-{done}" / "trainer_state.json"
    steps = [row["step"] for row in json.loads(last.read_text())["log_history"]]
if done <= state["global_step"] or state["global_step"] not in steps:
    sys.exit(f"it is at step {done}, its log has the steps {steps}")
print(f"went on from step {state['global_step']} to {done}")
