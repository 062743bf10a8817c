"""What is worked out without a proxy: costs, ratios, marks, templates, what loads say.

python3 -m unittest discover -s benches/compare
"""

import unittest

import book as books
import chart
import cost
import instructions
import loads
import peers
import reloads
import table

ABOUT = {
    "date": "2026-11-28",
    "machine": "2 cores",
    "processor": "one",
    "options": "2 rounds",
    "titles": {"nginx": "nginx 1", "porchd": "porchd 2"},
    "base": "nginx",
}


def measured(**rounds):
    """A measure with these values."""
    measure = books.Book(ABOUT).open("h1", "CPU time", "requests", "µs per request", saturates=True)
    for subject, values in rounds.items():
        for value in values:
            measure.note(subject, value, use=0.95, others=0)
    return measure


class Ratios(unittest.TestCase):
    def test_ratios_are_formed_within_a_round(self):
        summary = measured(nginx=[10, 20], porchd=[5, 16]).summary("porchd")
        self.assertEqual((summary["from"], summary["to"]), (0.5, 0.8))
        self.assertEqual((summary["least"], summary["ratio_of_leasts"]), (5, 0.5))

    def test_a_failed_round_takes_its_partner_along(self):
        measure = measured(porchd=[5])
        measure.fail("nginx", "gone")
        measure.note("nginx", 10)
        measure.note("porchd", 8)
        self.assertEqual(measure.summary("porchd")["ratio"], 0.8)

    def test_marks_say_what_is_doubtful(self):
        measure = measured(nginx=[10, 10], porchd=[5, 9])
        self.assertEqual(measure.summary("porchd")["marks"], ["noisy"])
        measure.note("porchd", 7, use=0.5, others=0.0, failed=3)
        measure.note("porchd", 7, use=0.5, others=0.0)
        measure.note("porchd", 7, use=0.5, others=0.0)
        self.assertEqual(measure.summary("porchd")["marks"], ["noisy", "used 50%", "3 failed"])

    def test_nothing_measured_is_no_figure(self):
        self.assertIsNone(measured(nginx=[1]).summary("porchd"))


class Costs(unittest.TestCase):
    def test_threads_that_began_and_ended_are_counted(self):
        before = cost.Snapshot({(1, 1): 100, (1, 2): 50}, 0)
        after = cost.Snapshot({(1, 1): 300, (1, 3): 40}, 0)
        self.assertAlmostEqual(cost.spent(before, after), 240e-9)

    def test_a_worker_that_ended_is_counted_by_its_parent(self):
        before = cost.Snapshot({(1, 1): 100, (2, 2): 5_000}, 1_000)
        after = cost.Snapshot({(1, 1): 150, (3, 3): 30}, 1_000 + 7_000)
        self.assertAlmostEqual(cost.spent(before, after), (50 + 30 + 2_000) * 1e-9)


class Templates(unittest.TestCase):
    def test_words_are_replaced_and_lines_keep_their_place(self):
        template = "port @PORT@\n  #@SITES@\n  #@NOTHING@\n# a line `#@...@`\n"
        filled = peers.filled(template, {"PORT": 1, "SITES": "a @PORT@\nb", "NOTHING": ""})
        self.assertEqual(filled, "port 1\n  a 1\n  b\n  #@NOTHING@\n# a line `#@...@`\n")

    def test_a_word_without_a_meaning_is_an_error(self):
        self.assertRaises(SystemExit, peers.filled, "@PROT@", {"PORT": 1})


class Said(unittest.TestCase):
    def test_h2load_is_understood(self):
        load = loads.of_h2load(
            "finished in 500.00ms, 8 req/s\nrequests: 4 total, 4 started, 4 done, 3 succeeded, 1 failed, 0 errored,"
            " 0 timeout\nstatus codes: 3 2xx, 0 3xx, 0 4xx, 1 5xx\n"
        )
        self.assertEqual((load.done, load.failed, load.seconds), (3, 2, 0.5))

    def test_a_reload_is_told_by_what_clients_saw(self):
        answers = [(0, 1, 0, False), (10, 12, 1, False), (13, 14, 0, False), (15, 16, 1, False), (17, 18, 0, True)]
        seen = {"answers": answers, "bodies": ["old", "changed.example"], "failures": [[3, "reset"]], "retries": 2}
        told = reloads.seen_by_clients(seen, asked_at=5)
        self.assertEqual((told["asked"], told["failed"], told["retries"]), (6, 1, 2))
        self.assertEqual((told["until"], told["flips"], told["stale"]), (7, 2, 1))


class Shown(unittest.TestCase):
    def test_figures_have_three_digits(self):
        self.assertEqual(
            [table.figure(value) for value in (1234.5, 12.34, 1.234, 7.0)], ["1,234", "12.3", "1.23", "7"]
        )

    def test_table_and_chart_show_every_proxy(self):
        book = books.Book(ABOUT)
        book.measures.append(measured(nginx=[10, 20], porchd=[5, 15]))
        self.assertIn(
            "| requests, µs per request | 15 (10) | 10 (5)<br>**0.62** 0.50..0.75 |", table.markdown(book, 0.3)
        )
        self.assertIn("0.62", chart.drawn(book))



class Counts(unittest.TestCase):
    def test_a_count_is_held_against_the_table(self):
        table = instructions.written({"one, two": 40_000, "three": 1_000}, "porchd")
        known = instructions.known(table)
        self.assertEqual(known, {"one, two": 40_000, "three": 1_000})
        self.assertEqual(list(instructions.complaints({"one, two": 40_700, "three": 900}, known)), [])
        (above,) = instructions.complaints({"one, two": 41_000}, known)
        self.assertIn("2.5% above", above)
        (unknown,) = instructions.complaints({"four": 1}, known)
        self.assertIn("--write", unknown)

    def test_the_committed_table_has_every_case(self):
        self.assertEqual(
            list(instructions.known(instructions.TABLE.read_text())),
            [case.name for case in instructions.cases()],
        )


if __name__ == "__main__":
    unittest.main()
