//! The small page that a visitor's browser is shown when the edge has nothing better.
//!
//! Self-contained: no script, no font, no picture, nothing that must be fetched from a home that is away.

use http::StatusCode;

/// A page saying `text`; it holds nothing that a client sent. `again`: the browser asks again by itself.
pub(crate) fn html(status: StatusCode, text: &str, again: bool) -> String {
    let reason = match again {
        true => "Away for a moment",
        false => status.canonical_reason().unwrap_or("Something is amiss"),
    };
    let refresh = if again { "<meta http-equiv=\"refresh\" content=\"5\">\n" } else { "" };
    let code = status.as_str();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n{refresh}\
         <meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{reason}</title>\n<style>{STYLE}</style>\n\
         <main>\n<h1>{reason}</h1>\n<p>{text}</p>\n<small>{code}</small>\n</main>\n</html>\n"
    )
}

/// The same in one line, for programs that do not ask for HTML.
pub(crate) fn text(status: StatusCode, text: &str) -> String {
    format!("{status}: {text}\n")
}

const STYLE: &str = "body{font:1.1em/1.5 system-ui,sans-serif;display:grid;place-content:center;\
min-height:90vh;margin:0 1em}main{max-width:32em}h1{font-size:1.5em;margin:0}small{opacity:.6}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_stands_alone_and_says_what_is_amiss() {
        let page = html(StatusCode::SERVICE_UNAVAILABLE, "Please try again.", false);
        assert!(page.starts_with("<!doctype html>") && page.contains("<h1>Service Unavailable</h1>"));
        assert!(page.contains("<p>Please try again.</p>") && page.contains("503"));
        assert!(!page.contains("src=") && !page.contains("href=") && !page.contains("<script"));
        assert!(!page.contains("{reason}") && page.len() < 1024);
        assert!(!page.contains("refresh"));
        let away = html(StatusCode::SERVICE_UNAVAILABLE, "Please wait.", true);
        assert!(away.contains("<h1>Away for a moment</h1>") && away.contains("http-equiv=\"refresh\""));
        assert_eq!(text(StatusCode::NOT_FOUND, "Nothing."), "404 Not Found: Nothing.\n");
    }
}
