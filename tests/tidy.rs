//! The house rules that a compiler does not hold: floors, sizes, openings, marks, records.
//!
//! Sources are read as text through a lexer that knows comments and literals and nothing more. Every
//! complaint says the file, the line and the cure; every check is itself tried on a bad sample below.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The floors, top first; siblings on one floor do not import each other. `src/lib.rs` draws the same.
const FLOORS: [&[&str]; 21] = [
    &["cli"],
    &["warden"],
    &["supervisor"],
    &["admin"],
    &["listener"],
    &["serve"],
    &["handler"],
    &["snapshot"],
    &["incidents"],
    &["upstream"],
    &["acme"],
    &["tls"],
    &["provision"],
    &["home"],
    &["http"],
    &["route"],
    &["telemetry"],
    &["config"],
    &["matrix"],
    &["os"],
    &["clock"],
];
const FILE_LINES: usize = 350;
const FUNCTION_LINES: usize = 70;

#[test]
fn every_file_opens_with_its_job() {
    hold(opening);
}

#[test]
fn imports_go_down_the_floors() {
    hold(floors);
}

#[test]
fn the_picture_of_the_floors_is_true() {
    let picture = fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs");
    assert_eq!(
        drawn(&picture),
        FLOORS.map(<[_]>::to_vec),
        "src/lib.rs draws other floors than tests/tidy.rs: mend one"
    );
}

#[test]
fn imports_stand_in_order() {
    hold(import_order);
}

#[test]
fn files_are_short() {
    hold(file_size);
}

#[test]
fn functions_are_short() {
    hold(function_size);
}

#[test]
fn nothing_is_exported_twice() {
    hold(re_exports);
}

#[test]
fn nothing_is_left_unfinished_or_switched_off() {
    hold(marks);
}

#[test]
fn unsafe_code_is_the_systems_alone() {
    hold(unsafe_code);
}

#[test]
fn tests_stand_last_and_are_named_for_behaviour() {
    hold(tests_in_place);
}

#[test]
fn files_are_named_for_their_job() {
    hold(file_names);
}

#[test]
fn every_example_configuration_is_tried() {
    let sources = sources();
    let untried = files_under(&root().join("config"), "yaml").into_iter().filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // A test that loads the whole folder tries each of its files.
        let tried = |source: &Source| source.tests().contains(name) || source.tests().contains("\"config\"");
        !sources.iter().any(tried)
    });
    let untried: Vec<_> = untried.collect();
    assert!(untried.is_empty(), "no test mentions {untried:?}: load each of config/*.yaml in a test");
}

#[test]
fn decision_records_are_numbered_without_gaps() {
    let records = files_under(&root().join("src/manual"), "md");
    let read = |path: &PathBuf| (relative(path), fs::read_to_string(path).expect("a record"));
    let records: Vec<_> = records.iter().map(read).collect();
    assert!(!records.is_empty(), "src/manual/ holds no records");
    report(record_complaints(&records));
}

/// One file.
struct Source {
    path: String,
    text: String,
    /// The text with comments and the insides of literals blanked out, line by line the same.
    code: String,
    /// Lines in front of the unit tests.
    production: usize,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let code = blanked(text);
        let in_tests = path.starts_with("tests/") || path.ends_with("/tests.rs") || path.contains("/tests/");
        let production = if in_tests { 0 } else { tests_begin(&code).unwrap_or(code.lines().count()) };
        Self { path: path.to_owned(), text: text.to_owned(), code, production }
    }

    /// The code in front of the unit tests, numbered from 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.all_lines().take(self.production)
    }

    fn all_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(at, line)| (at + 1, line))
    }

    /// The text of its tests.
    fn tests(&self) -> String {
        self.text.lines().skip(self.production).collect::<Vec<_>>().join("\n")
    }

    fn in_house(&self) -> bool {
        self.path.starts_with("src/")
    }

    /// The path of its module from the root, such as `["http", "scan"]`.
    fn module(&self) -> Vec<&str> {
        let inside = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        inside.split('/').filter(|part| !matches!(*part, "mod" | "lib" | "main")).collect()
    }

    fn complain(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

fn opening(source: &Source) -> Vec<String> {
    let first = source.text.lines().next().unwrap_or_default();
    let opens = first.strip_prefix("//!").is_some_and(|job| !job.trim().is_empty());
    let what = "does not begin with `//!`: say the file's job and what it does not do";
    if opens { Vec::new() } else { vec![source.complain(1, what)] }
}

fn floors(source: &Source) -> Vec<String> {
    let module = source.module();
    let Some(&own) = module.first().filter(|_| source.in_house()) else { return Vec::new() };
    let Some(floor) = floor_of(own) else {
        return vec![
            source.complain(1, &format!("`{own}` is on no floor: add it to FLOORS and to src/lib.rs")),
        ];
    };
    let mut complaints = Vec::new();
    for (at, line) in joined_imports(source) {
        let depth = module.len() + usize::from(at > source.production);
        for import in named_modules(&line, depth) {
            let Some(other) = floor_of(&import) else {
                let what = format!("`{import}` is on no floor: name what is wanted by its full path");
                complaints.push(source.complain(at, &what));
                continue;
            };
            if other < floor {
                let what = format!(
                    "`{own}` imports `{import}` from a floor above: move the thing down or hand it in"
                );
                complaints.push(source.complain(at, &what));
            } else if other == floor && import != own {
                let what = format!("`{own}` imports its sibling `{import}`: move what both need down");
                complaints.push(source.complain(at, &what));
            }
        }
    }
    complaints
}

fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// Lines, where an import that goes over several lines is one, at its first line's number.
fn joined_imports(source: &Source) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (at, line) in source.all_lines() {
        match lines.last_mut() {
            Some((_, import)) if open => import.push_str(line.trim()),
            _ => lines.push((at, line.to_owned())),
        }
        let text = lines.last().map_or("", |(_, text)| text.trim_start());
        let imports =
            text.starts_with("use ") || text.starts_with("pub use ") || text.starts_with("pub(crate) use ");
        open = imports && !text.contains(';');
    }
    lines
}

/// The modules below the root that `line` names, by `crate::` or by a chain of `super::` from `depth`.
fn named_modules(line: &str, depth: usize) -> Vec<String> {
    let mut named = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        if line[..at].ends_with(|before: char| before == '$' || is_word(before)) {
            continue;
        }
        named.extend(first_names(&line[at + "crate::".len()..]));
    }
    let chain = "super::".repeat(depth);
    for (at, _) in line.match_indices(&chain) {
        let behind = &line[at + chain.len()..];
        if !line[..at].ends_with("::") && !behind.starts_with("super::") {
            named.extend(first_names(behind));
        }
    }
    named
}

/// `a` of `a::b`, `a` and `c` of `{a::b, c}`.
fn first_names(path: &str) -> Vec<String> {
    let word = |text: &str| text.trim().chars().take_while(|char| is_word(*char)).collect::<String>();
    let Some(group) = path.strip_prefix('{') else { return vec![word(path)] };
    let (mut names, mut depth, mut from) = (Vec::new(), 0, 0);
    for (at, char) in group.char_indices() {
        match char {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                names.push(word(&group[from..at]));
                from = at + 1;
                if char == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// The floors as `src/lib.rs` draws them: names before two blanks, siblings on one line.
fn drawn(picture: &str) -> Vec<Vec<&str>> {
    let lines = picture.lines().filter_map(|line| line.strip_prefix("//! "));
    let lines = lines.skip_while(|line| !line.starts_with("```text")).skip(1);
    let names = lines.take_while(|line| !line.starts_with("```")).map(|line| {
        let named = line.split(' ').filter(|word| word.ends_with('/') || word.ends_with(".rs"));
        let known = named.map(|word| word.trim_end_matches('/').trim_end_matches(".rs"));
        known.filter(|name| *name != "main").collect::<Vec<_>>()
    });
    names.filter(|names| !names.is_empty()).collect()
}

fn import_order(source: &Source) -> Vec<String> {
    if !source.in_house() {
        return Vec::new();
    }
    let (mut highest, mut complaints) = (0, Vec::new());
    for (at, line) in source.lines() {
        let Some(path) = line.strip_prefix("use ").or_else(|| line.strip_prefix("pub use ")) else {
            continue;
        };
        let root = path.split("::").next().unwrap_or_default();
        let rank = match root {
            "std" | "core" | "alloc" => 0,
            "crate" | "super" | "self" | "porchd" => 2,
            _ => 1,
        };
        if rank < highest {
            complaints
                .push(source.complain(at, "imports are in the order std, other crates, `crate`: move it up"));
        }
        highest = rank;
    }
    complaints
}

fn file_size(source: &Source) -> Vec<String> {
    let too_long = source.in_house() && source.production > FILE_LINES;
    let what = format!("{} lines before the tests, {FILE_LINES} are the most: split it", source.production);
    if too_long { vec![source.complain(source.production, &what)] } else { Vec::new() }
}

fn function_size(source: &Source) -> Vec<String> {
    let code: String = source.code.lines().take(source.production).flat_map(|line| [line, "\n"]).collect();
    let lengths = functions(&code).into_iter().filter(|(_, length)| *length > FUNCTION_LINES);
    let what = |length| format!("a function of {length} lines, {FUNCTION_LINES} are the most: split it");
    lengths.map(|(line, length)| source.complain(line, &what(length))).collect()
}

/// The first line and the number of lines of every function with a body.
fn functions(code: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        if code[..at].ends_with(is_word) {
            continue;
        }
        if let Some(length) = body_end(&code[at..]) {
            let first = code[..at].matches('\n').count() + 1;
            found.push((first, code[at..at + length].matches('\n').count() + 1));
        }
    }
    found
}

/// Where the body of the function at the start of `code` ends; `None` when it has none.
fn body_end(code: &str) -> Option<usize> {
    let (mut round, mut curly) = (0, 0);
    for (at, char) in code.char_indices() {
        match char {
            '(' | '[' => round += 1,
            ')' | ']' => round -= 1,
            ';' if round == 0 && curly == 0 => return None,
            '{' => curly += 1,
            '}' => {
                curly -= 1;
                if curly == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

fn re_exports(source: &Source) -> Vec<String> {
    if !source.in_house() || source.path == "src/lib.rs" {
        return Vec::new();
    }
    let exports = |line: &str| {
        let line = line.trim_start();
        line.starts_with("pub")
            && line.split_once("use ").is_some_and(|(pub_, _)| !pub_.trim_end().contains(' '))
    };
    let found = source.lines().filter(|(_, line)| exports(line));
    found.map(|(at, _)| source.complain(at, "a re-export: let users name the place where it is")).collect()
}

fn marks(source: &Source) -> Vec<String> {
    const CODE: [(&str, &str); 5] = [
        ("todo!", "unfinished: finish it or leave it out"),
        ("unimplemented!", "unfinished: finish it or leave it out"),
        ("#[ignore", "a test that never runs: mend it or take it out"),
        ("#[allow(", "use #[expect(.., reason = \"..\")]"),
        ("#![allow(", "use #![expect(.., reason = \"..\")]"),
    ];
    const SLEEPS: [&str; 3] = ["thread::sleep", "time::sleep(", "time::sleep;"];
    let mut complaints = Vec::new();
    for ((at, code), text) in source.all_lines().zip(source.text.lines()) {
        for (mark, cure) in CODE {
            if code.contains(mark) {
                complaints.push(source.complain(at, &format!("`{mark}`: {cure}")));
            }
        }
        if text.contains(concat!("FIX", "ME")) {
            complaints.push(source.complain(at, "a mark of something to mend: mend it or file an issue"));
        }
        if source.path.starts_with("tests/") && SLEEPS.iter().any(|sleep| code.contains(sleep)) {
            complaints.push(source.complain(at, "a test that sleeps: wait for the event itself"));
        }
    }
    complaints
}

fn unsafe_code(source: &Source) -> Vec<String> {
    if source.path.starts_with("src/os/") {
        return Vec::new();
    }
    let words = |line: &str| line.split(|char| !is_word(char)).any(|word| word == "unsafe");
    let found = source.all_lines().filter(|(_, line)| words(line));
    found
        .map(|(at, _)| {
            source.complain(at, "unsafe code outside src/os/: put it behind a safe function there")
        })
        .collect()
}

fn tests_in_place(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut last = "";
    for (at, line) in source.all_lines() {
        if last.trim() == "#[test]" && line.trim_start().starts_with("fn test_") {
            complaints.push(source.complain(at, "name the behaviour, without `test_`"));
        }
        // The unit tests end the file: nothing starts a line behind them but their closing brace.
        let behind = source.production > 0 && at > source.production + 2;
        if source.in_house() && behind && !line.is_empty() && !line.starts_with([' ', '}']) {
            complaints.push(source.complain(at, "code behind the unit tests: tests stand last"));
        }
        last = line;
    }
    complaints
}

fn file_names(source: &Source) -> Vec<String> {
    const VAGUE: [&str; 8] = ["utils", "util", "common", "helper", "helpers", "misc", "context", "manager"];
    let vague = source.path.split(['/', '.']).find(|part| VAGUE.contains(part));
    let what = |name| format!("`{name}` is no job: name the file for what it does");
    vague.map(|name| source.complain(1, &what(name))).into_iter().collect()
}

fn record_complaints(records: &[(String, String)]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (at, (path, text)) in records.iter().enumerate() {
        let name = path.rsplit('/').next().unwrap_or_default();
        if !name.starts_with(&format!("{:04}-", at + 1)) {
            complaints
                .push(format!("{path}:1: records are numbered without gaps: this is number {}", at + 1));
        }
        if !text.starts_with("# ") {
            complaints.push(format!("{path}:1: a record begins with its title, `# ...`"));
        }
        for part in ["## Context", "## Decision", "## Consequences"] {
            if !text.contains(part) {
                complaints
                    .push(format!("{path}:1: a record has context, decision and consequences: add `{part}`"));
            }
        }
    }
    complaints
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// How many lines stand in front of `#[cfg(test)] mod tests {`.
fn tests_begin(code: &str) -> Option<usize> {
    let lines: Vec<_> = code.lines().collect();
    lines
        .windows(2)
        .position(|two| two[0] == "#[cfg(test)]" && two[1].starts_with("mod ") && two[1].ends_with('{'))
}

/// `text` with comments and the insides of string and character literals blanked out.
fn blanked(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let before = code.chars().next_back();
        let (kept, length) = token(rest, before);
        code.push_str(&rest[..kept]);
        // Line breaks stay, so that lines keep their numbers.
        code.extend(rest[kept..length].chars().map(|char| if char == '\n' { '\n' } else { ' ' }));
        debug_assert!(length >= first.len_utf8());
        rest = &rest[length..];
    }
    code
}

/// The next token of `rest`: how many of its bytes are kept, and how long it is.
fn token(rest: &str, before: Option<char>) -> (usize, usize) {
    let up_to =
        |end: &str, from: usize| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    let first = rest.chars().next().map_or(1, char::len_utf8);
    if rest.starts_with("//") {
        return (0, up_to("\n", 0).max(2) - usize::from(rest.contains('\n')));
    }
    if rest.starts_with("/*") {
        return (0, block_comment(rest));
    }
    if rest.starts_with('"') {
        return (1, string(rest));
    }
    let raw =
        rest.strip_prefix("br").or_else(|| rest.strip_prefix('r')).filter(|_| !before.is_some_and(is_word));
    if let Some(raw) = raw {
        let fence = raw.len() - raw.trim_start_matches('#').len();
        if raw[fence..].starts_with('"') {
            let opened = rest.len() - raw.len() + fence + 1;
            return (opened, up_to(&format!("\"{}", "#".repeat(fence)), opened));
        }
    }
    if rest.starts_with('\'') {
        return (1, character(rest).unwrap_or(1));
    }
    (first, first)
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, char) in rest.char_indices().skip(1) {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of a character literal; `None` for a lifetime or a label.
fn character(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1);
    let (_, first) = chars.next()?;
    if first == '\\' {
        let (escaped, _) = chars.next()?;
        return rest[escaped + 1..].find('\'').map(|end| escaped + 1 + end + 1);
    }
    chars.next().filter(|(_, char)| *char == '\'').map(|(at, _)| at + 1)
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned()
}

/// All files below `folder` with that extension, in order of their names.
fn files_under(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in entries {
        if path.is_dir() {
            found.extend(files_under(&path, extension));
        } else if path.extension().is_some_and(|its| its == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// All sources of the house, read once.
fn sources() -> &'static [Source] {
    static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(read_sources);
    &SOURCES
}

fn read_sources() -> Vec<Source> {
    let folders = ["src", "tests", "benches"].map(|folder| root().join(folder));
    let paths: Vec<_> = folders.iter().flat_map(|folder| files_under(folder, "rs")).collect();
    assert!(paths.len() > 20, "the sources were not found");
    let read = |path: &PathBuf| Source::new(&relative(path), &fs::read_to_string(path).expect("a source"));
    paths.iter().map(read).collect()
}

/// Holds every source to one rule.
fn hold(rule: fn(&Source) -> Vec<String>) {
    report(sources().iter().flat_map(rule).collect());
}

fn report(complaints: Vec<String>) {
    let mut text = String::new();
    for complaint in &complaints {
        let _ = writeln!(text, "  {complaint}");
    }
    assert!(complaints.is_empty(), "{} against the house rules:\n{text}", complaints.len());
}

mod samples {
    //! Every rule complains of what it is for, at the right line, and of nothing else.

    use super::*;

    fn complaints(rule: fn(&Source) -> Vec<String>, path: &str, text: &str) -> Vec<String> {
        let place = |complaint: String| complaint.split(": ").next().unwrap_or_default().to_owned();
        rule(&Source::new(path, text)).into_iter().map(place).collect()
    }

    #[test]
    fn literals_and_comments_are_blanked() {
        let table = [
            ("a // todo!\nb", "ab"),
            ("a /* x /* y */\n z */ b", "ab"),
            (r#"f("a\"b", 1)"#, r#"f(",1)"#),
            (r###"r#"a"b"# c"###, r##"r#"c"##),
            (r#"b"x" br"y" var "z""#, r#"b"br"var""#),
            ("'a' '\\'' '\\n' 'x: &'a str", "''''x:&'astr"),
            ("'\u{e4}' b'{' c", "'b'c"),
        ];
        for (text, code) in table {
            let blanked = blanked(text);
            assert_eq!(blanked.split_whitespace().collect::<String>(), code, "{text}");
            assert_eq!(blanked.lines().count(), text.lines().count(), "{text}");
            assert_eq!(blanked.chars().count(), text.chars().count(), "{text}");
        }
        assert!(!blanked("let s = \"{ unsafe\";").contains('{'));
        assert!(blanked("fn f<'a>(s: &'a str) -> char { '{' }").ends_with("{ '   }"));
    }

    #[test]
    fn openings_are_missed() {
        assert_eq!(complaints(opening, "src/a.rs", "use std::fs;\n"), ["src/a.rs:1"]);
        assert_eq!(complaints(opening, "src/a.rs", "//!\n"), ["src/a.rs:1"]);
        assert_eq!(complaints(opening, "src/a.rs", ""), ["src/a.rs:1"]);
        assert!(complaints(opening, "src/a.rs", "//! Its job.\n").is_empty());
    }

    #[test]
    fn imports_upwards_and_sideways_are_found() {
        let up = [
            "use crate::serve::Worker;",
            "    let x = crate::serve::now();",
            "use crate::{clock, serve::Worker};",
            "use crate::{\n    clock,\n    serve,\n};",
            "use super::super::serve::Worker;",
            "use crate::nowhere::X;",
            "pub(crate) use crate::cli;",
        ];
        for import in up {
            let text = format!("//! Job.\n\n{import}\n");
            assert_eq!(complaints(floors, "src/http/scan.rs", &text), ["src/http/scan.rs:3"], "{import}");
        }
        let fine = [
            "use crate::http::fault;",
            "use crate::{clock, matrix::{class, error}};",
            "use super::fault;",
            "// crate::serve",
            "let s = \"crate::serve\";",
            "use other_crate::serve;",
        ];
        for import in fine {
            assert!(complaints(floors, "src/http/scan.rs", import).is_empty(), "{import}");
        }
        assert_eq!(complaints(floors, "src/clock.rs", "use crate::os::x;"), ["src/clock.rs:1"]);
        assert_eq!(complaints(floors, "src/clock.rs", "\nuse super::os;"), ["src/clock.rs:2"]);
        assert_eq!(complaints(floors, "src/attic/mod.rs", ""), ["src/attic/mod.rs:1"]);
        assert!(complaints(floors, "src/main.rs", "use porchd::cli;").is_empty());
    }

    #[test]
    fn unit_tests_are_one_level_deeper() {
        let text = "//! Job.\n#[cfg(test)]\nmod tests {\n    use super::super::fault;\n    use super::super::super::serve;\n}\n";
        assert_eq!(complaints(floors, "src/http/scan.rs", text), ["src/http/scan.rs:5"]);
    }

    #[test]
    fn pictures_are_read() {
        let picture = "//! x\n//! ```text\n//! main.rs    args\n//! cli/       run/ it\n//! a.rs  os/  end\n//! ```\n//! b/ no\n";
        assert_eq!(drawn(picture), [vec!["cli", "run"], vec!["a", "os"]]);
    }

    #[test]
    fn imports_out_of_order_are_found() {
        let text = "use bytes::Bytes;\n\nuse std::fs;\nuse crate::a;\nuse http::Uri;\n";
        assert_eq!(complaints(import_order, "src/a.rs", text), ["src/a.rs:3", "src/a.rs:5"]);
        let text = "use std::fs;\n\nuse bytes::Bytes;\n\nuse super::b;\nuse crate::a;\n";
        assert!(complaints(import_order, "src/a.rs", text).is_empty());
    }

    #[test]
    fn long_files_are_found_without_their_tests() {
        let tests = "#[cfg(test)]\nmod tests {\n}\n";
        let long = |lines: usize| "x\n".repeat(lines) + tests;
        assert!(complaints(file_size, "src/a.rs", &long(350)).is_empty());
        assert_eq!(complaints(file_size, "src/a.rs", &long(351)), ["src/a.rs:351"]);
        assert!(complaints(file_size, "src/a/tests.rs", &long(351)).is_empty());
    }

    #[test]
    fn long_functions_are_found() {
        let function =
            |lines: usize| format!("//! a\nfn f(x: [u8; 2])\n{{\n{}}}\n", "    g(\"}\");\n".repeat(lines));
        assert!(complaints(function_size, "src/a.rs", &function(67)).is_empty());
        assert_eq!(complaints(function_size, "src/a.rs", &function(68)), ["src/a.rs:2"]);
        assert_eq!(functions("trait T { fn a(&self); fn b() { {} } }\nfn c() {\n}"), [(1, 1), (2, 2)]);
        assert!(functions("type F = fn(u8);\nconst often: u8 = 1;").is_empty());
    }

    #[test]
    fn re_exports_are_found() {
        let text = "pub use a::B;\npub(crate) use c::D;\nuse e::F;\npub fn used() {}\n";
        assert_eq!(complaints(re_exports, "src/a.rs", text), ["src/a.rs:1", "src/a.rs:2"]);
        assert!(complaints(re_exports, "src/lib.rs", text).is_empty());
    }

    #[test]
    fn marks_are_found() {
        let mark = concat!("// FIX", "ME");
        let text =
            format!("todo!()\n#[ignore = \"x\"]\n#[allow(dead_code)]\n{mark}\nlet s = \"todo!\"; // todo!\n");
        let found = complaints(marks, "src/a.rs", &text);
        assert_eq!(found, ["src/a.rs:1", "src/a.rs:2", "src/a.rs:3", "src/a.rs:4"]);
        let text = "std::thread::sleep(x);\ntokio::time::sleep(x).await;\n";
        assert_eq!(complaints(marks, "tests/a.rs", text), ["tests/a.rs:1", "tests/a.rs:2"]);
        assert!(complaints(marks, "src/a.rs", text).is_empty());
    }

    #[test]
    fn unsafe_code_is_found() {
        assert_eq!(complaints(unsafe_code, "src/a.rs", "//! a\nunsafe { x() }"), ["src/a.rs:2"]);
        assert!(complaints(unsafe_code, "src/os/a.rs", "unsafe { x() }").is_empty());
        assert!(complaints(unsafe_code, "src/a.rs", "#![expect(unsafe_code)] // unsafe").is_empty());
    }

    #[test]
    fn tests_out_of_place_are_found() {
        let text =
            "fn a() {}\n\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn test_a() {}\n}\n\nfn behind() {}\n";
        assert_eq!(complaints(tests_in_place, "src/a.rs", text), ["src/a.rs:6", "src/a.rs:9"]);
        let text = "#[cfg(test)]\nmod fake;\nmod real;\n\npub struct A;\n";
        assert!(complaints(tests_in_place, "src/a/mod.rs", text).is_empty());
    }

    #[test]
    fn vague_names_are_found() {
        assert_eq!(complaints(file_names, "src/http/utils.rs", ""), ["src/http/utils.rs:1"]);
        assert_eq!(complaints(file_names, "tests/suite/common/mod.rs", ""), ["tests/suite/common/mod.rs:1"]);
        assert!(complaints(file_names, "src/http/scan.rs", "").is_empty());
    }

    #[test]
    fn records_with_gaps_are_found() {
        let good = "# T\n## Context\n## Decision\n## Consequences\n".to_owned();
        let records = [("m/0001-a.md".to_owned(), good.clone()), ("m/0003-b.md".to_owned(), good.clone())];
        assert_eq!(record_complaints(&records).len(), 1);
        assert!(record_complaints(&records[..1]).is_empty());
        assert_eq!(record_complaints(&[("m/0001-a.md".to_owned(), "T".to_owned())]).len(), 4);
    }
}
