"""Write synthetic routing traces.

Usage:
    python bem2/router/synthesize_traces.py --experts Code,Formal,Safety --out data/traces.json
"""

import argparse
import logging
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent.parent))

from bem2.router.trace_generator import TraceGenerator, create_trace_generator


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--experts", default="Code,Formal,Safety")
    parser.add_argument("--num_traces", type=int, default=10000)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--chunk_size", type=int, default=128)
    parser.add_argument("--max_chunks", type=int, default=20)
    parser.add_argument("--domain_dist", default="Code:0.4,Formal:0.3,Safety:0.2,Mixed:0.1")
    parser.add_argument("--log_level", default="INFO")
    args = parser.parse_args()
    logging.basicConfig(level=args.log_level)
    shares = dict(part.split(":") for part in args.domain_dist.lower().split(","))
    shares = {domain: float(share) for domain, share in shares.items() if domain != "mixed"}
    generator: TraceGenerator = create_trace_generator(
        {"chunk_size": args.chunk_size, "max_chunks_per_trace": args.max_chunks, "seed": args.seed}
    )
    generator.generate_dataset(args.num_traces, shares, args.out)


if __name__ == "__main__":
    main()
