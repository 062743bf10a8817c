//! A folder as a page: every name, size and date, sorted as the query asks.
//!
//! The page needs nothing from elsewhere and no script, fits a phone, and escapes whatever a file is called.

use std::cmp::Ordering;
use std::fmt::Write;
use std::io;
use std::time::SystemTime;

use crate::handler::files::path;
use crate::os::beneath::Folder;
use crate::telemetry::timestamp;

/// Most entries of one page.
const MOST: usize = 10_000;

const STYLE: &str = "\
body{font:16px/1.5 system-ui,sans-serif;margin:1rem auto;max-width:60rem;padding:0 1rem;color:#222;background:#fff}\
h1{font-size:1.2rem;overflow-wrap:anywhere}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.3rem .5rem;border-bottom:1px solid #8883}\
td:first-child{overflow-wrap:anywhere}td:nth-child(2),th:nth-child(2){text-align:right;white-space:nowrap}\
td:nth-child(3){white-space:nowrap}a{color:#06c;text-decoration:none}a:hover{text-decoration:underline}\
@media(max-width:34rem){td:nth-child(3),th:nth-child(3){display:none}}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}a{color:#6bf}}";

/// One line of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) folder: bool,
    pub(super) len: u64,
    pub(super) modified: SystemTime,
}

/// A column to sort by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Name,
    Size,
    Date,
}

/// How a page is sorted; folders come first always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    by: Column,
    down: bool,
}

impl Order {
    /// Reads `sort=name|size|date` and `order=asc|desc`; everything else is passed over.
    pub(super) fn of(query: Option<&str>) -> Self {
        let mut order = Self { by: Column::Name, down: false };
        for pair in query.unwrap_or_default().split('&') {
            match pair {
                "sort=size" => order.by = Column::Size,
                "sort=date" => order.by = Column::Date,
                "sort=name" => order.by = Column::Name,
                "order=desc" => order.down = true,
                "order=asc" => order.down = false,
                _ => {}
            }
        }
        order
    }

    fn compare(self, a: &Entry, b: &Entry) -> Ordering {
        let by_column = match self.by {
            Column::Name => Ordering::Equal,
            Column::Size => a.len.cmp(&b.len),
            Column::Date => a.modified.cmp(&b.modified),
        };
        let by_name = || a.name.to_lowercase().cmp(&b.name.to_lowercase()).then_with(|| a.name.cmp(&b.name));
        let ordering = by_column.then_with(by_name);
        b.folder.cmp(&a.folder).then(if self.down { ordering.reverse() } else { ordering })
    }
}

/// What of the folder `name` may be shown: files and folders that a request would reach.
///
/// # Errors
/// Those of `Folder::names`.
pub(super) fn entries(folder: &Folder, name: &str) -> io::Result<Vec<Entry>> {
    let top = name.is_empty();
    let names = folder.names(name, MOST)?.into_iter();
    let names = names.filter_map(|name| name.into_string().ok()).filter(|name| path::is_shown(name, top));
    let look = |child: String| {
        let whole = if top { child.clone() } else { format!("{name}/{child}") };
        let meta = folder.look(&whole).ok().filter(|meta| meta.is_file() || meta.is_dir())?;
        let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        Some(Entry { name: child, folder: meta.is_dir(), len: meta.len(), modified })
    };
    Ok(names.filter_map(look).collect())
}

/// The page of the folder `name`.
pub(super) fn page(name: &str, mut entries: Vec<Entry>, order: Order) -> String {
    entries.sort_by(|a, b| order.compare(a, b));
    let mut html = String::with_capacity(1024 + entries.len() * 160);
    let title = escaped(name);
    html.push_str("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n");
    html.push_str("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n");
    // Writing to a String can't fail.
    let _ = write!(html, "<title>/{title}</title>\n<style>{STYLE}</style>\n<h1>/{title}</h1>\n<table>\n<tr>");
    for (column, key, label) in [
        (Column::Name, "name", "Name"),
        (Column::Size, "size", "Size"),
        (Column::Date, "date", "Changed (UTC)"),
    ] {
        heading(&mut html, order, column, key, label);
    }
    html.push_str("</tr>\n");
    if !name.is_empty() {
        html.push_str("<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n");
    }
    for entry in &entries {
        row(&mut html, entry);
    }
    html.push_str("</table>\n");
    if entries.len() >= MOST {
        let _ = writeln!(html, "<p>Only {MOST} entries are shown.</p>");
    }
    html.push_str("</html>\n");
    html
}

/// A column's head: a second click on the sorted one turns the order round.
fn heading(html: &mut String, order: Order, column: Column, key: &str, label: &str) {
    let current = order.by == column;
    let next = if current && !order.down { "desc" } else { "asc" };
    let mark = match (current, order.down) {
        (false, _) => "",
        (true, false) => " \u{2191}",
        (true, true) => " \u{2193}",
    };
    let _ = write!(html, "<th><a href=\"?sort={key}&amp;order={next}\">{label}</a>{mark}</th>");
}

fn row(html: &mut String, entry: &Entry) {
    let slash = if entry.folder { "/" } else { "" };
    html.push_str("<tr><td><a href=\"");
    html.extend(path::encode(&entry.name).map(escaped));
    let _ = write!(html, "{slash}\">{}{slash}</a></td><td>", escaped(&entry.name));
    if !entry.folder {
        html.push_str(&size(entry.len));
    }
    let mut date = Vec::new();
    timestamp::minute(&mut date, entry.modified);
    let _ = writeln!(html, "</td><td>{}</td></tr>", String::from_utf8_lossy(&date));
}

/// A size as a person reads it: three digits and a unit.
fn size(len: u64) -> String {
    let mut value = len as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1000.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" || value >= 99.95 { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") }
}

/// Text that is only text in HTML, in elements and in quoted attributes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn entry(name: &str, folder: bool, len: u64, day: u64) -> Entry {
        let modified = UNIX_EPOCH + Duration::from_secs(day * 86_400);
        Entry { name: name.to_owned(), folder, len, modified }
    }

    fn shown(query: &str) -> Vec<String> {
        let entries = vec![
            entry("b.txt", false, 10, 3),
            entry("A.txt", false, 30, 1),
            entry("c.txt", false, 20, 2),
            entry("zoo", true, 4096, 9),
            entry("bar", true, 4096, 8),
        ];
        let page = page("x", entries, Order::of(Some(query)));
        let rows = page.split("<tr><td><a href=\"").skip(2);
        rows.filter_map(|row| row.split('"').next()).map(str::to_owned).collect()
    }

    #[test]
    fn the_query_sorts_and_folders_come_first() {
        for (query, wanted) in [
            ("", ["bar/", "zoo/", "A.txt", "b.txt", "c.txt"]),
            ("order=desc", ["zoo/", "bar/", "c.txt", "b.txt", "A.txt"]),
            ("sort=size&order=asc", ["bar/", "zoo/", "b.txt", "c.txt", "A.txt"]),
            ("sort=size&order=desc", ["zoo/", "bar/", "A.txt", "c.txt", "b.txt"]),
            ("sort=date", ["bar/", "zoo/", "A.txt", "c.txt", "b.txt"]),
            ("sort=<script>&&=", ["bar/", "zoo/", "A.txt", "b.txt", "c.txt"]),
        ] {
            assert_eq!(shown(query), wanted, "{query}");
        }
    }

    #[test]
    fn a_name_is_only_text() {
        let name = "<img src=x onerror='a(\"b\")'>&javascript:x#?%.txt";
        let page = page("<b>&", vec![entry(name, false, 1, 0)], Order::of(None));
        assert!(page.contains("<title>/&lt;b&gt;&amp;</title>"), "{page}");
        assert!(!page.contains("<img") && !page.contains("<b>"), "{page}");
        let link = page.split("href=\"").nth(5).and_then(|rest| rest.split('"').next()).unwrap();
        assert_eq!(link, "%3Cimg%20src=x%20onerror=&#39;a(%22b%22)&#39;%3E&amp;javascript%3Ax%23%3F%25.txt");
    }

    #[test]
    fn sizes_are_short() {
        for (len, wanted) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 KiB"),
            (150_000, "146 KiB"),
            (5 << 20, "5.0 MiB"),
            (3 << 40, "3.0 TiB"),
            (9 << 50, "9216 TiB"),
        ] {
            assert_eq!(size(len), wanted);
        }
    }
}
