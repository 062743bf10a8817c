//! Figures as text for Prometheus: its format 0.0.4, or OpenMetrics 1.0, as the reader prefers.
//!
//! Pure. Own code, since the client library for Rust (prometheus-client) writes OpenMetrics alone, which
//! `promtool check metrics` and older readers do not take.

use std::fmt::{Display, Write as _};

use crate::telemetry::figures::{BOUNDS, Histogram};

/// How the text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The text format 0.0.4.
    Plain,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The format for a reader that sends this `Accept`.
    pub fn of(accept: &str) -> Self {
        let taken = accept.split(',').any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let named =
                parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/openmetrics-text"));
            named && parts.all(|part| !matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
        });
        if taken { Self::OpenMetrics } else { Self::Plain }
    }

    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What kind of figures a family is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A count that only grows. Its name is written without `_total`.
    Counter,
    /// A value of now.
    Gauge,
    /// Counts by buckets.
    Histogram,
    /// Facts in labels. Its name is written without `_info`.
    Info,
}

/// A text in the making.
#[derive(Debug)]
pub struct Exposition {
    format: Format,
    text: String,
}

/// A family of figures in the making.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
    suffix: &'static str,
}

/// Names and values of labels.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

impl Exposition {
    /// Nothing yet.
    pub fn new(format: Format) -> Self {
        Self { format, text: String::new() }
    }

    /// Begins a family, which a text has once. `unit` is the end of its name, or empty.
    pub fn family(&mut self, kind: Kind, name: &'static str, unit: &str, help: &str) -> Family<'_> {
        let (suffix, word) = match kind {
            Kind::Counter => ("_total", "counter"),
            Kind::Gauge => ("", "gauge"),
            Kind::Histogram => ("", "histogram"),
            Kind::Info => ("_info", if self.format == Format::Plain { "gauge" } else { "info" }),
        };
        let text = &mut self.text;
        // OpenMetrics names a family without the suffix of its samples.
        let titled = if self.format == Format::Plain { suffix } else { "" };
        // Writing to a String can't fail.
        let _ = writeln!(text, "# HELP {name}{titled} {help}\n# TYPE {name}{titled} {word}");
        if self.format == Format::OpenMetrics && !unit.is_empty() {
            let _ = writeln!(text, "# UNIT {name} {unit}");
        }
        Family { text, name, suffix }
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

impl Family<'_> {
    /// Adds one figure; a set of labels has one.
    pub fn sample(&mut self, labels: Labels<'_>, value: impl Display) {
        self.line(self.suffix, labels, None, value);
    }

    /// Adds a histogram whose `bounds` are microseconds, as seconds.
    pub fn histogram(&mut self, labels: Labels<'_>, bounds: &[u64; BOUNDS], histogram: &Histogram) {
        let mut sum = 0;
        for (at, count) in histogram.counts.iter().enumerate() {
            sum += count;
            // Whole seconds as "1.0": one series, whichever format was read.
            let bound =
                bounds.get(at).map_or_else(|| String::from("+Inf"), |bound| format!("{:?}", seconds(*bound)));
            self.line("_bucket", labels, Some(&bound), sum);
        }
        self.line("_sum", labels, None, seconds(histogram.micros));
        self.line("_count", labels, None, sum);
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, bound: Option<&str>, value: impl Display) {
        let _ = write!(self.text, "{}{suffix}", self.name);
        let bound = bound.map(|bound| ("le", bound));
        for (at, (name, value)) in labels.iter().copied().chain(bound).enumerate() {
            self.text.push_str(if at == 0 { "{" } else { "," });
            let _ = write!(self.text, "{name}=\"");
            escape(self.text, value);
            self.text.push('"');
        }
        if !labels.is_empty() || bound.is_some() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn escape(text: &mut String, value: &str) {
    for char in value.chars() {
        match char {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::class::Class;
    use crate::telemetry::figures;

    fn written(format: Format) -> String {
        let mut exposition = Exposition::new(format);
        exposition.family(Kind::Info, "porchd_build", "", "What runs.").sample(&[("version", "1")], 1);
        let mut requests = exposition.family(Kind::Counter, "porchd_requests", "", "Requests.");
        requests.sample(&[("class", "sync"), ("status", "2xx")], 7);
        requests.sample(&[("class", "a\\b\"c\nd"), ("status", "4xx")], 0);
        exposition.family(Kind::Gauge, "porchd_start_time_seconds", "seconds", "Since.").sample(&[], 1.5);
        exposition.finish()
    }

    #[test]
    fn plain_text_names_samples() {
        let wanted = concat!(
            "# HELP porchd_build_info What runs.\n# TYPE porchd_build_info gauge\n",
            "porchd_build_info{version=\"1\"} 1\n",
            "# HELP porchd_requests_total Requests.\n# TYPE porchd_requests_total counter\n",
            "porchd_requests_total{class=\"sync\",status=\"2xx\"} 7\n",
            "porchd_requests_total{class=\"a\\\\b\\\"c\\nd\",status=\"4xx\"} 0\n",
            "# HELP porchd_start_time_seconds Since.\n# TYPE porchd_start_time_seconds gauge\n",
            "porchd_start_time_seconds 1.5\n",
        );
        assert_eq!(written(Format::Plain), wanted);
    }

    #[test]
    fn openmetrics_names_families_and_units_and_ends() {
        let text = written(Format::OpenMetrics);
        for line in [
            "# TYPE porchd_build info\nporchd_build_info{version=\"1\"} 1\n",
            "# TYPE porchd_requests counter\nporchd_requests_total{class=\"sync\",status=\"2xx\"} 7\n",
            "# TYPE porchd_start_time_seconds gauge\n# UNIT porchd_start_time_seconds seconds\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(text.ends_with("1.5\n# EOF\n"), "{text}");
    }

    #[test]
    fn histograms_add_up_to_their_count() {
        let mut exposition = Exposition::new(Format::Plain);
        let mut histogram = Histogram::default();
        (histogram.counts[1], histogram.counts[9], histogram.counts[BOUNDS]) = (2, 1, 4);
        histogram.micros = 250_001_500;
        let mut family = exposition.family(Kind::Histogram, "porchd_x_seconds", "seconds", "Time.");
        family.histogram(&[("class", "send")], figures::bounds(Class::Send), &histogram);
        let text = exposition.finish();
        for line in [
            "porchd_x_seconds_bucket{class=\"send\",le=\"0.001\"} 0\n",
            "porchd_x_seconds_bucket{class=\"send\",le=\"0.002\"} 2\n",
            "porchd_x_seconds_bucket{class=\"send\",le=\"1.0\"} 3\n",
            "porchd_x_seconds_bucket{class=\"send\",le=\"60.0\"} 3\n",
            "porchd_x_seconds_bucket{class=\"send\",le=\"+Inf\"} 7\n",
            "porchd_x_seconds_sum{class=\"send\"} 250.0015\nporchd_x_seconds_count{class=\"send\"} 7\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn readers_get_what_they_accept() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        for (accept, format) in [
            ("", Format::Plain),
            ("*/*", Format::Plain),
            ("text/plain", Format::Plain),
            (prometheus, Format::OpenMetrics),
            ("Application/OpenMetrics-Text", Format::OpenMetrics),
            ("application/openmetrics-text; q=0, text/plain", Format::Plain),
        ] {
            assert_eq!(Format::of(accept), format, "{accept}");
        }
    }
}
