"""Indented with tabs; sections are parted by form feeds."""

import sys

def load(name):
	if name == "retrieval":
		from bem.retrieval import create_micro_retriever
		return create_micro_retriever
	else:
		from src.bem2.router.trace_generator import TraceGenerator
		return TraceGenerator

if __name__ == "__main__":
	print(load(sys.argv[1]))
