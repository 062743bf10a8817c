"""The book of what was measured, and what its figures come to: medians, leasts, ratios, marks.

A measure has subjects, by default the proxies, and one of them is the base of the ratios. Values of one round
were taken one after the other, so a ratio is formed within each round.
"""

import dataclasses
import json
import statistics

# Of what is counted no ratio is formed: most of it is 0.
COUNT = "count"
# A ratio that moves further than this over the rounds says more of the machine than of the proxy.
NOISY = 0.3
# A load that leaves the proxy more room than this has not found its limit.
SATURATED = 0.9
# More than this on the proxy's CPU that was not the proxy's: the machine was busy with other things.
OTHERS = 0.15


@dataclasses.dataclass
class Measure:
    """One thing that was measured, of all subjects."""

    key: str
    group: str
    title: str
    unit: str
    base: str
    # Whether the load is to use the proxy's whole CPU.
    saturates: bool = False
    # Rounds of each subject: `value`, and more that is worth keeping. None: this round failed.
    rounds: dict = dataclasses.field(default_factory=dict)
    # Why a subject has no value.
    failures: dict = dataclasses.field(default_factory=dict)

    def note(self, subject, value, **more):
        """One round of one subject."""
        self.rounds[subject].append({"value": value, **more})

    def fail(self, subject, why):
        """A round that gave no value."""
        self.rounds[subject].append(None)
        self.failures[subject] = str(why)

    def summary(self, subject):
        """What the rounds come to; nothing when there are none."""
        rounds = self.rounds.get(subject, [])
        values = [each["value"] for each in rounds if each]
        if not values:
            return None
        pairs = zip(rounds, self.rounds.get(self.base, []), strict=False)
        ratios = [each["value"] / base["value"] for each, base in pairs if each and base and base["value"] > 0]
        summary = {"median": statistics.median(values), "least": min(values)}
        if ratios and self.unit != COUNT:
            summary |= {"ratio": statistics.median(ratios), "from": min(ratios), "to": max(ratios)}
            least = min(base["value"] for base in self.rounds[self.base] if base)
            summary["ratio_of_leasts"] = min(values) / least if least > 0 else None
        summary["marks"] = self._marks([each for each in rounds if each], summary)
        return summary

    def _marks(self, rounds, summary):
        marks = []
        if summary.get("to", 0) - summary.get("from", 0) > NOISY:
            marks.append("noisy")
        others = [each["others"] for each in rounds if "others" in each]
        if others and statistics.median(others) > OTHERS:
            marks.append(f"others {statistics.median(others):.0%}")
        # Of what others left of it.
        used = [each["use"] / max(0.01, 1 - each["others"]) for each in rounds if "use" in each]
        if self.saturates and used and statistics.median(used) < SATURATED:
            marks.append(f"used {statistics.median(used):.0%}")
        if failed := sum(each.get("failed", 0) for each in rounds):
            marks.append(f"{failed} failed")
        return marks


class Book:
    """All measures of a run."""

    def __init__(self, about):
        self.about = about
        self.measures = []

    def open(self, key, group, title, unit, subjects=None, base=None, saturates=False):
        """A new measure; of proxies, or of other subjects with a base of their own."""
        base = base or self.about["base"]
        rounds = {subject: [] for subject in subjects or self.about["titles"]}
        self.measures.append(Measure(key, group, title, unit, base, saturates, rounds))
        return self.measures[-1]

    def find(self, key):
        """A measure by its key."""
        return next((measure for measure in self.measures if measure.key == key), None)

    def groups(self):
        """Measures by group, in order."""
        grouped = {}
        for measure in self.measures:
            if any(measure.rounds.values()):
                grouped.setdefault(measure.group, []).append(measure)
        return grouped

    def save(self, path):
        """All of it as JSON, with what the figures come to."""
        measures = []
        for measure in self.measures:
            figures = {subject: measure.summary(subject) for subject in measure.rounds}
            measures.append(dataclasses.asdict(measure) | {"figures": figures})
        path.write_text(json.dumps({"about": self.about, "measures": measures}, indent=1) + "\n")

    @classmethod
    def load(cls, path):
        """A book that was saved."""
        saved = json.loads(path.read_text())
        book = cls(saved["about"])
        for measure in saved["measures"]:
            measure.pop("figures")
            book.measures.append(Measure(**measure))
        return book
