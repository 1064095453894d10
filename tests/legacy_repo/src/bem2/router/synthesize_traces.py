"""Write synthetic routing traces.

Usage:
    python bem2/router/synthesize_traces.py --experts Code,Formal,Safety --out data/router_traces.jsonl
"""

import argparse
import logging
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent.parent))

from bem2.router.trace_generator import TraceGenerator, create_trace_generator


def main():
    parser = argparse.ArgumentParser(description="Write synthetic routing traces")
    parser.add_argument("--experts", default="Code,Formal,Safety", help="experts, separated by commas")
    parser.add_argument("--num_traces", type=int, default=10000)
    parser.add_argument("--out", required=True, help="JSON Lines file, or a folder for router_traces.jsonl")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--chunk_size", type=int, default=128)
    parser.add_argument("--max_chunks", type=int, default=20)
    parser.add_argument("--domain_dist", default="Code:0.4,Formal:0.3,Safety:0.2,Mixed:0.1")
    parser.add_argument("--log_level", default="INFO")
    args = parser.parse_args()

    logging.basicConfig(level=getattr(logging, args.log_level))
    logger = logging.getLogger(__name__)

    experts = [name.strip().lower() for name in args.experts.split(",")]
    domain_distribution = {}
    for part in args.domain_dist.split(","):
        name, share = part.split(":")
        if name.strip().lower() in experts or name.strip().lower() == "mixed":
            domain_distribution[name.strip().lower()] = float(share)
    total = sum(domain_distribution.values())
    domain_distribution = {name: share / total for name, share in domain_distribution.items()}

    generator: TraceGenerator = create_trace_generator(
        {"chunk_size": args.chunk_size, "max_chunks_per_trace": args.max_chunks, "seed": args.seed}
    )
    out = Path(args.out)
    if out.suffix not in (".json", ".jsonl"):
        out = out / "router_traces.jsonl"
    traces = generator.generate_dataset(args.num_traces, domain_distribution, str(out))

    num_chunks = sum(len(trace.actions) for trace in traces)
    usage = {}
    for trace in traces:
        for action in trace.actions:
            usage[action["expert_id"]] = usage.get(action["expert_id"], 0) + 1
    logger.info("%d traces, %d chunks", len(traces), num_chunks)
    for expert_id in sorted(usage):
        logger.info("expert %d: %.1f%%", expert_id, 100.0 * usage[expert_id] / num_chunks)


if __name__ == "__main__":
    main()
