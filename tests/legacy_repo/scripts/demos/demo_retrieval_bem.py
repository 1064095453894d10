#!/usr/bin/env python3
"""Phase 3 demo: routing with retrieval."""

import argparse
import os
import sys

sys.path.append(os.path.dirname(os.path.abspath(__file__)))

from bem.retrieval_bem import RetrievalBEMConfig, create_retrieval_aware_bem, FullRetrievalAwareBEM
from bem.retrieval import RetrievalConfig
from bem.retrieval_features import create_retrieval_feature_extractor
from bem.hierarchical_bem import HierarchicalBEMConfig


def search(documents, query):
    from bem.retrieval import create_micro_retriever

    retriever = create_micro_retriever(documents)
    return create_retrieval_feature_extractor(retriever).extract(query)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model_name", default="prajjwal1/bert-tiny")
    parser.add_argument("--corpus_path", default="demo_corpus.jsonl")
    parser.add_argument("--create_corpus", action="store_true")
    parser.add_argument("--num_docs", type=int, default=1000)
    parser.add_argument("--skip_training_demo", action="store_true")
    parser.parse_args()
    documents = ["a proof of the lemma", "a class with a method", "privacy and risk"]
    print(search(documents, "proof of a theorem"))
    print(RetrievalBEMConfig(HierarchicalBEMConfig(), RetrievalConfig(2, documents)), FullRetrievalAwareBEM)
    print(create_retrieval_aware_bem)


if __name__ == "__main__":
    main()
