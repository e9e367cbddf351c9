"""Microsoft presidio on the same texts, from an environment of its own: `python peers.py < texts.json`.

Stock recognisers, a blank spaCy pipeline (no language model is installed), and language "en": presidio has no
recognisers for Chinese, and those for "en" work on patterns. This file imports nothing of ours.
"""

import json
import sys
import time


def main() -> None:
    """Read a list of texts, write {"version", "seconds", "found": [[text, entity, start, end, score], ...]}."""
    from importlib.metadata import version

    import spacy
    import tldextract
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=())  # the list it carries, no network
    texts = json.load(sys.stdin)
    nlp = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": "blank"}])
    nlp.nlp = {"en": spacy.blank("en")}
    registry = RecognizerRegistry(supported_languages=["en"])
    registry.load_predefined_recognizers(languages=["en"])
    engine = AnalyzerEngine(nlp_engine=nlp, registry=registry, supported_languages=["en"])
    engine.analyze("warm 4111 1111 1111 1111 up", language="en")
    start = time.process_time()
    answers = [engine.analyze(text, language="en") for text in texts]
    seconds = time.process_time() - start
    found = [[n, r.entity_type, r.start, r.end, r.score] for n, answer in enumerate(answers) for r in answer]
    print(json.dumps({"version": version("presidio-analyzer"), "seconds": seconds, "found": found}))


if __name__ == "__main__":
    main()
