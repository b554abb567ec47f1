//! The page: one document that brings everything it needs, with a number of its own for its scripts and styles.
//!
//! Owns how the parts in `page/` become one, and what the browser is told to allow: nothing but these parts and requests back to here. No text of
//! a peer is ever written into the document here; the script fetches the data and sets it as text.

use super::refusal::Refusal;
use crate::text::hex;
use actix_web::HttpResponse;
use actix_web::http::header::ContentType;

const DOCUMENT: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// In the order in which they build on each other.
const SCRIPTS: [&str; 6] = [
    include_str!("page/text.js"),
    include_str!("page/data.js"),
    include_str!("page/charts.js"),
    include_str!("page/graph.js"),
    include_str!("page/tables.js"),
    include_str!("page/main.js"),
];

/// The document. Every answer has another nonce.
pub(super) async fn show() -> Result<HttpResponse, Refusal> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Refusal::Broker(error.to_string()))?;
    let nonce = hex(&bytes);
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    );
    Ok(HttpResponse::Ok()
        .insert_header(ContentType::html())
        .insert_header(("content-security-policy", policy))
        .body(document(&nonce)))
}

fn document(nonce: &str) -> String {
    DOCUMENT
        .replace("{{style}}", STYLE)
        .replace("{{script}}", &SCRIPTS.concat())
        .replace("{{version}}", env!("CARGO_PKG_VERSION"))
        .replace("{{nonce}}", nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_whole_and_asks_for_nothing_else() {
        let document = document("abc");
        assert!(!document.contains("{{"), "every place is filled");
        assert_eq!(
            document.matches("nonce=\"abc\"").count(),
            2,
            "one style, one script"
        );
        for outside in [
            "src=",
            "@import",
            "url(",
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "document.write",
            "eval(",
        ] {
            assert!(!document.contains(outside), "{outside}");
        }
        let links: Vec<&str> = document.matches("href=\"").collect();
        assert_eq!(
            links.len(),
            document.matches("href=\"data:").count() + document.matches("href=\"#").count()
        );
    }
}
