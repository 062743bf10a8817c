//! Text as mdoc(7) takes it.

/// A text with words in backticks, one line a sentence, so that the page reads well as a source too.
pub(crate) fn text(written: &str) -> String {
    let mut lines = String::new();
    for sentence in sentences(written) {
        let mut line = String::new();
        for (at, part) in sentence.split('`').enumerate() {
            if at % 2 == 0 {
                line.push_str(&escaped(part));
            } else {
                line.push_str(&code(part));
            }
        }
        lines.push_str(&kept_as_text(&line));
        lines.push('\n');
    }
    lines
}

/// A literal: what a user writes.
pub(crate) fn code(literal: &str) -> String {
    format!("\\(oq{}\\(cq", escaped(literal).replace('-', "\\-").replace('\'', "\\(aq"))
}

/// An argument of a macro.
pub(crate) fn argument(word: &str) -> String {
    escaped(word).replace('-', "\\-").replace('"', "\\(dq")
}

fn escaped(text: &str) -> String {
    assert!(text.is_ascii(), "manual pages are ASCII: {text}");
    text.replace('\\', "\\e").replace('~', "\\(ti").replace('^', "\\(ha")
}

/// A line that begins with a dot or a quote would be taken for a macro.
fn kept_as_text(line: &str) -> String {
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() }
}

/// Sentences end with a full stop before a capital, outside of backticks.
fn sentences(written: &str) -> Vec<&str> {
    let (mut found, mut from, mut literal) = (Vec::new(), 0, false);
    let bytes = written.as_bytes();
    for (at, byte) in written.bytes().enumerate() {
        literal ^= byte == b'`';
        let ends = byte == b'.' && bytes.get(at + 1) == Some(&b' ');
        if ends
            && !literal
            && bytes.get(at + 2).is_some_and(|next| next.is_ascii_uppercase() || *next == b'`')
        {
            found.push(&written[from..=at]);
            from = at + 2;
        }
    }
    found.push(&written[from..]);
    found.retain(|sentence| !sentence.is_empty());
    found
}

#[test]
fn literals_and_sentences_are_set() {
    assert_eq!(
        text("`a-b` is \\ here. Then `x. Y`, e.g. this. .end"),
        "\\(oqa\\-b\\(cq is \\e here.\nThen \\(oqx. Y\\(cq, e.g. this. .end\n"
    );
    assert_eq!(text(".x"), "\\&.x\n");
    assert_eq!(argument("a-\"b\""), "a\\-\\(dqb\\(dq");
}
