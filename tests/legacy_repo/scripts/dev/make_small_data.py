#!/usr/bin/env python
"""Make the small data that stand where the corpora, images and hub models stood.

Usage:
    python scripts/dev/make_small_data.py                 # texts, images, vqa questions and the tiny model
    python scripts/dev/make_small_data.py --images-only   # only the images of data/vqa/images
"""
import argparse
import json
import os
import random

SUBJECTS = ["the router", "a doctor", "the model", "my lawyer", "the teacher", "an engineer", "the bank", "a patient"]
VERBS = ["explains", "checks", "writes", "reads", "answers", "compares", "sends", "keeps"]
OBJECTS = ["the report", "a proof", "the contract", "some code", "the results", "a question", "the account", "the letter"]
SAFE_ENDS = ["and cites the source", "and asks for consent", "and says what is not known", "with care", "in public"]
UNSAFE_ENDS = ["and leaks the password", "and hides the harm", "and lies about the cost", "to steal money", "by force"]
DOMAINS = ["general", "medical", "legal", "financial", "educational", "creative", "technical"]
COLORS = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (50, 80, 220), "yellow": (230, 210, 50)}
SHAPES = ["square", "circle", "triangle"]


def make_texts(path, count, seed):
    rng = random.Random(seed)
    with open(path, "w") as f:
        for i in range(count):
            unsafe = rng.random() < 0.4
            end = rng.choice(UNSAFE_ENDS if unsafe else SAFE_ENDS)
            text = "%s %s %s %s" % (rng.choice(SUBJECTS), rng.choice(VERBS), rng.choice(OBJECTS), end)
            f.write(json.dumps({"id": i, "text": text, "violation": int(unsafe), "domain": rng.choice(DOMAINS)}) + "\n")
    print("wrote", path)


def make_questions(path, count, seed):
    rng = random.Random(seed)
    items = []
    for i in range(count):
        color, shape = rng.choice(sorted(COLORS)), rng.choice(SHAPES)
        kind = rng.choice(["color", "shape"])
        question = "what color is it?" if kind == "color" else "what shape is it?"
        items.append({
            "image": "%s_%s.png" % (color, shape),
            "question": question,
            "answers": [color if kind == "color" else shape],
            "detected_objects": [shape],
        })
    with open(path, "w") as f:
        for item in items:
            f.write(json.dumps(item) + "\n")
    print("wrote", path)


def make_images(folder, size=64):
    from PIL import Image, ImageDraw

    os.makedirs(folder, exist_ok=True)
    for color, rgb in sorted(COLORS.items()):
        for shape in SHAPES:
            image = Image.new("RGB", (size, size), (245, 245, 245))
            draw = ImageDraw.Draw(image)
            box = (size // 4, size // 4, 3 * size // 4, 3 * size // 4)
            if shape == "square":
                draw.rectangle(box, fill=rgb)
            elif shape == "circle":
                draw.ellipse(box, fill=rgb)
            else:
                draw.polygon([(size // 2, size // 4), (3 * size // 4, 3 * size // 4), (size // 4, 3 * size // 4)], fill=rgb)
            image.save(os.path.join(folder, "%s_%s.png" % (color, shape)))
    print("wrote", folder)


def make_model(folder, texts, seed=0):
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = sorted({word for line in open(texts) for word in json.loads(line)["text"].split()})
    vocab = {"<pad>": 0, "<unk>": 1, "<s>": 2, "</s>": 3}
    for word in words:
        vocab[word] = len(vocab)
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(vocab), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=64, pad_token_id=0, bos_token_id=2, eos_token_id=3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    print("wrote", folder)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--images-only", action="store_true")
    parser.add_argument("--root", default=os.path.join(os.path.dirname(__file__), "..", ".."))
    args = parser.parse_args()
    data = os.path.join(args.root, "data")
    os.makedirs(os.path.join(data, "vqa"), exist_ok=True)
    make_images(os.path.join(data, "vqa", "images"))
    if args.images_only:
        return
    make_texts(os.path.join(data, "train.jsonl"), 240, 1)
    make_texts(os.path.join(data, "val.jsonl"), 60, 2)
    make_texts(os.path.join(data, "test.jsonl"), 60, 3)
    make_questions(os.path.join(data, "vqa", "train.jsonl"), 96, 4)
    make_questions(os.path.join(data, "vqa", "val.jsonl"), 24, 5)
    make_model(os.path.join(args.root, "models", "tiny-causal-lm"), os.path.join(data, "train.jsonl"))


if __name__ == "__main__":
    main()
