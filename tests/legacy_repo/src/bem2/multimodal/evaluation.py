"""Answers, hallucinations and latency."""

import json
import logging
import re
import statistics
import string
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np
import torch

try:
    import sklearn  # noqa: F401

    HAS_SKLEARN = True
except ImportError:
    HAS_SKLEARN = False

logger = logging.getLogger(__name__)

COLORS = {
    "red": (0.9, 0.1, 0.1),
    "green": (0.1, 0.8, 0.2),
    "blue": (0.15, 0.25, 0.95),
    "yellow": (0.95, 0.9, 0.1),
}
SHAPES = ["circle", "square", "triangle", "cross"]


class VQAMetrics(NamedTuple):
    exact_match: float
    f1_score: float
    accuracy: float
    bleu_score: Optional[float] = None
    rouge_l: Optional[float] = None
    answer_relevance: float = 0.0


class HallucinationMetrics(NamedTuple):
    object_hallucination_rate: float
    attribute_hallucination_rate: float
    spatial_hallucination_rate: float
    factual_consistency_score: float
    overall_hallucination_rate: float


class LatencyMetrics(NamedTuple):
    preprocessing_latency_ms: float
    inference_latency_ms: float
    postprocessing_latency_ms: float
    total_latency_ms: float
    p50_latency_ms: float
    p95_latency_ms: float
    p99_latency_ms: float


@dataclass
class MultimodalEvaluationResult:
    vqa_metrics: VQAMetrics
    hallucination_metrics: HallucinationMetrics
    latency_metrics: LatencyMetrics
    coverage_stats: Dict[str, float]
    consistency_stats: Dict[str, float]
    gate_stats: Dict[str, float]
    num_samples: int
    evaluation_time: float


class VQAEvaluator:
    def __init__(
        self, answer_vocab: Optional[List[str]] = None, use_stemming: bool = True, case_sensitive: bool = False
    ):
        self.answer_vocab = answer_vocab
        self.use_stemming = use_stemming
        self.case_sensitive = case_sensitive
        self.number_pattern = re.compile(r"\b\d+\b")
        self.yes_no_pattern = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
        self.color_words = set(COLORS) | {"black", "white", "orange", "purple", "brown", "gray", "pink"}
        self.stemmer = None
        if use_stemming:
            try:
                from nltk.stem import PorterStemmer

                self.stemmer = PorterStemmer()
            except ImportError:
                logger.warning("nltk not available, no stemming")

    def _preprocess_answer(self, answer: str) -> str:
        answer = str(answer)
        if not self.case_sensitive:
            answer = answer.lower()
        answer = answer.translate(str.maketrans("", "", string.punctuation))
        words = [w for w in answer.split() if w not in ("a", "an", "the")]
        if self.stemmer is not None:
            words = [self.stemmer.stem(w) for w in words]
        return " ".join(words)

    def _compute_exact_match(self, predicted: str, ground_truth: List[str]) -> float:
        p = self._preprocess_answer(predicted)
        return 1.0 if any(p == self._preprocess_answer(g) for g in ground_truth) else 0.0

    def _compute_f1_score(self, predicted: str, ground_truth: List[str]) -> float:
        best = 0.0
        p = self._preprocess_answer(predicted).split()
        for g in ground_truth:
            t = self._preprocess_answer(g).split()
            if not p or not t:
                best = max(best, float(p == t))
                continue
            common = sum((Counter(p) & Counter(t)).values())
            best = max(best, 2 * common / (len(p) + len(t)))
        return best

    def _compute_answer_relevance(self, predicted: str, question: str, ground_truth: List[str]) -> float:
        score = 0.0
        q = question.lower()
        if "color" in q or "colour" in q:
            score = 1.0 if any(w in self.color_words for w in predicted.lower().split()) else 0.0
        elif q.startswith("how many"):
            score = 1.0 if self.number_pattern.search(predicted) else 0.0
        elif q.split(" ")[0] in ("is", "are", "does", "do"):
            score = 1.0 if self.yes_no_pattern.search(predicted) else 0.0
        else:
            score = 1.0 if predicted.strip() else 0.0
        return score

    def evaluate_batch(
        self, predictions: List[str], ground_truths: List[List[str]], questions: List[str]
    ) -> VQAMetrics:
        em = [self._compute_exact_match(p, g) for p, g in zip(predictions, ground_truths)]
        f1 = [self._compute_f1_score(p, g) for p, g in zip(predictions, ground_truths)]
        rel = [
            self._compute_answer_relevance(p, q, g) for p, q, g in zip(predictions, questions, ground_truths)
        ]
        return VQAMetrics(
            exact_match=statistics.fmean(em),
            f1_score=statistics.fmean(f1),
            accuracy=statistics.fmean(em),
            answer_relevance=statistics.fmean(rel),
        )


class HallucinationDetector:
    def __init__(
        self,
        object_vocab: Optional[List[str]] = None,
        attribute_vocab: Optional[Dict[str, List[str]]] = None,
        spatial_relations: Optional[List[str]] = None,
    ):
        self.object_vocab = object_vocab or SHAPES + ["person", "cat", "dog", "car", "tree", "chair", "table"]
        self.attribute_vocab = attribute_vocab or {"color": list(COLORS), "size": ["small", "large"]}
        self.spatial_relations = spatial_relations or ["left of", "right of", "above", "below", "behind"]
        attributes = [a for values in self.attribute_vocab.values() for a in values]
        self.object_pattern = re.compile(r"\b(" + "|".join(map(re.escape, self.object_vocab)) + r")\b")
        self.attribute_pattern = re.compile(r"\b(" + "|".join(map(re.escape, attributes)) + r")\b")
        self.spatial_pattern = re.compile(r"\b(" + "|".join(map(re.escape, self.spatial_relations)) + r")\b")

    def _extract_mentioned_objects(self, text: str) -> List[str]:
        return self.object_pattern.findall(text.lower())

    def _extract_mentioned_attributes(self, text: str) -> List[str]:
        return self.attribute_pattern.findall(text.lower())

    def _extract_spatial_relations(self, text: str) -> List[str]:
        return self.spatial_pattern.findall(text.lower())

    def detect_object_hallucinations(self, text: str, detected_objects: List[str]) -> float:
        mentioned = self._extract_mentioned_objects(text)
        if not mentioned:
            return 0.0
        return sum(m not in detected_objects for m in mentioned) / len(mentioned)

    def detect_attribute_hallucinations(self, text: str, object_attributes: Dict[str, List[str]]) -> float:
        mentioned = self._extract_mentioned_attributes(text)
        known = [a for values in object_attributes.values() for a in values]
        if not mentioned:
            return 0.0
        return sum(m not in known for m in mentioned) / len(mentioned)

    def detect_spatial_hallucinations(self, text: str, spatial_facts: List[str]) -> float:
        mentioned = self._extract_spatial_relations(text)
        if not mentioned:
            return 0.0
        return sum(not any(m in fact for fact in spatial_facts) for m in mentioned) / len(mentioned)

    def compute_factual_consistency(self, text: str, visual_facts: List[str]) -> float:
        words = set(text.lower().split())
        if not visual_facts:
            return 1.0
        return sum(bool(words & set(fact.lower().split())) for fact in visual_facts) / len(visual_facts)

    def evaluate_hallucinations(
        self,
        texts: List[str],
        detected_objects_list: List[List[str]],
        object_attributes_list: List[Dict[str, List[str]]],
        spatial_facts_list: List[List[str]],
        visual_facts_list: List[List[str]],
    ) -> HallucinationMetrics:
        o = [self.detect_object_hallucinations(t, d) for t, d in zip(texts, detected_objects_list)]
        a = [self.detect_attribute_hallucinations(t, d) for t, d in zip(texts, object_attributes_list)]
        s = [self.detect_spatial_hallucinations(t, d) for t, d in zip(texts, spatial_facts_list)]
        f = [self.compute_factual_consistency(t, d) for t, d in zip(texts, visual_facts_list)]
        rates = [statistics.fmean(x) if x else 0.0 for x in (o, a, s)]
        return HallucinationMetrics(rates[0], rates[1], rates[2], statistics.fmean(f) if f else 1.0, sum(rates) / 3)


class LatencyProfiler:
    def __init__(self):
        self.reset()

    def reset(self):
        self.preprocessing, self.inference, self.postprocessing, self.total = [], [], [], []

    def profile_batch(self, preprocessing_fn, inference_fn, postprocessing_fn, inputs, batch_size: int = 1):
        t0 = time.perf_counter()
        x = preprocessing_fn(inputs)
        t1 = time.perf_counter()
        y = inference_fn(x)
        t2 = time.perf_counter()
        postprocessing_fn(y)
        t3 = time.perf_counter()
        self.preprocessing.append(1000 * (t1 - t0) / batch_size)
        self.inference.append(1000 * (t2 - t1) / batch_size)
        self.postprocessing.append(1000 * (t3 - t2) / batch_size)
        self.total.append(1000 * (t3 - t0) / batch_size)
        return self.get_cumulative_metrics()

    def get_cumulative_metrics(self) -> LatencyMetrics:
        if not self.total:
            return LatencyMetrics(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        return LatencyMetrics(
            float(np.mean(self.preprocessing)),
            float(np.mean(self.inference)),
            float(np.mean(self.postprocessing)),
            float(np.mean(self.total)),
            float(np.percentile(self.total, 50)),
            float(np.percentile(self.total, 95)),
            float(np.percentile(self.total, 99)),
        )


class MultimodalEvaluator:
    def __init__(
        self, vqa_config: Optional[Dict[str, Any]] = None, hallucination_config: Optional[Dict[str, Any]] = None
    ):
        self.vqa_evaluator = VQAEvaluator(**(vqa_config or {}))
        self.hallucination_detector = HallucinationDetector(**(hallucination_config or {}))
        self.latency_profiler = LatencyProfiler()

    def evaluate_multimodal_system(
        self, model, vision_encoder, test_data: List[Dict[str, Any]], batch_size: int = 8
    ) -> MultimodalEvaluationResult:
        from .coverage_analysis import ConsistencyGate
        from .training import encode_text

        start = time.time()
        model.eval()
        vision_encoder.eval()
        self.latency_profiler.reset()
        gate = ConsistencyGate(model.input_dim, model.input_dim, vision_encoder.num_regions).eval()
        predictions, coverages, consistencies, actions = [], [], [], []
        for i in range(0, len(test_data), batch_size):
            rows = test_data[i : i + batch_size]

            def preprocess(rows):
                pixels = vision_encoder.preprocess_images([r["image"] for r in rows])
                with torch.no_grad():
                    features = vision_encoder(pixels)
                hidden, mask = encode_text([r["question"] for r in rows], model.input_dim)
                return features, hidden, mask

            def infer(x):
                features, hidden, mask = x
                with torch.no_grad():
                    codes, state = model(
                        hidden,
                        mask,
                        vision_features=features,
                        routing_level=model.finest_level,
                        return_routing_state=True,
                    )
                    text = model._summarize(hidden, mask)
                    _, analysis = gate(state.vision_features, text)
                    return model.answer_logits(codes, mask), analysis

            def post(y):
                logits, analysis = y
                predictions.extend(model.answer_vocab[j] for j in logits.argmax(dim=-1).tolist())
                coverages.append(analysis.coverage_score)
                consistencies.append(analysis.consistency_score)
                actions.append(analysis.recommended_action)

            self.latency_profiler.profile_batch(preprocess, infer, post, rows, len(rows))
        detected = [r.get("detected_objects", []) for r in test_data]
        return MultimodalEvaluationResult(
            vqa_metrics=self.vqa_evaluator.evaluate_batch(
                predictions, [r["answers"] for r in test_data], [r["question"] for r in test_data]
            ),
            hallucination_metrics=self.hallucination_detector.evaluate_hallucinations(
                predictions,
                detected,
                [r.get("object_attributes", {}) for r in test_data],
                [r.get("spatial_facts", []) for r in test_data],
                [r.get("visual_facts", []) for r in test_data],
            ),
            latency_metrics=self.latency_profiler.get_cumulative_metrics(),
            coverage_stats={"mean": float(np.mean(coverages)), "std": float(np.std(coverages))},
            consistency_stats={"mean": float(np.mean(consistencies)), "std": float(np.std(consistencies))},
            gate_stats={a: actions.count(a) / len(actions) for a in ("proceed", "gate", "fallback")},
            num_samples=len(test_data),
            evaluation_time=time.time() - start,
        )

    def save_results(self, results: MultimodalEvaluationResult, output_path: Path):
        output_path = Path(output_path)
        output_path.parent.mkdir(parents=True, exist_ok=True)
        data = asdict(results)
        for key in ("vqa_metrics", "hallucination_metrics", "latency_metrics"):
            data[key] = getattr(results, key)._asdict()
        with open(output_path, "w") as f:
            json.dump(data, f, indent=2)

    def print_summary(self, results: MultimodalEvaluationResult):
        print("=" * 60)
        print(f"samples        {results.num_samples}")
        print(f"exact match    {results.vqa_metrics.exact_match:.4f}")
        print(f"F1             {results.vqa_metrics.f1_score:.4f}")
        print(f"hallucination  {results.hallucination_metrics.overall_hallucination_rate:.4f}")
        print(f"coverage       {results.coverage_stats['mean']:.4f}")
        print(f"consistency    {results.consistency_stats['mean']:.4f}")
        print(f"p95 latency    {results.latency_metrics.p95_latency_ms:.2f} ms")
        print("=" * 60)


def create_vqa_test_data(num_samples: int = 100, image_size: int = 32) -> List[Dict[str, Any]]:
    """Images with one coloured shape each, and a question about its color or shape."""
    rng = np.random.RandomState(0)
    data = []
    for i in range(num_samples):
        color = list(COLORS)[rng.randint(len(COLORS))]
        shape = SHAPES[rng.randint(len(SHAPES))]
        radius = rng.uniform(0.15, 0.25)
        cx, cy = rng.uniform(radius, 1 - radius, size=2)
        y, x = np.mgrid[0:image_size, 0:image_size] / image_size + 0.5 / image_size
        dx, dy = np.abs(x - cx), np.abs(y - cy)
        if shape == "circle":
            inside = dx**2 + dy**2 <= radius**2
        elif shape == "square":
            inside = np.maximum(dx, dy) <= radius * 0.85
        elif shape == "triangle":
            inside = (y - cy + radius >= 2 * dx) & (y - cy <= radius)
        else:
            inside = (np.minimum(dx, dy) <= radius * 0.3) & (np.maximum(dx, dy) <= radius)
        image = np.full((image_size, image_size, 3), 0.5) + rng.uniform(-0.05, 0.05, (image_size, image_size, 3))
        image[inside] = COLORS[color]
        about_color = bool(rng.randint(2))
        data.append(
            {
                "image": torch.from_numpy(image).permute(2, 0, 1).float(),
                "question": "what color is it?" if about_color else "which shape is it?",
                "answers": [color if about_color else shape],
                "detected_objects": [shape],
                "object_boxes": [[cx - radius, cy - radius, cx + radius, cy + radius]],
                "object_attributes": {shape: [color]},
                "visual_facts": [f"{color} {shape}"],
            }
        )
    return data
