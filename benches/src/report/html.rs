//! One page with everything on it, without anything from elsewhere.

use std::fmt::Write as _;

use anyhow::Result;

use super::plots;
use super::table::{Table, is_number};
use crate::results::Results;

const STYLE: &str = "\
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:1180px;padding:0 1rem;color:#1d2733}
h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.1rem;margin-top:2.2rem}
p.machine,p.note{color:#5b6875;margin:.2rem 0}div.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:13px;white-space:nowrap}
th,td{padding:.25rem .6rem;border-bottom:1px solid #e1e6eb;text-align:left}
th{color:#5b6875;font-weight:600}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
svg{max-width:100%;height:auto;margin-top:.6rem}";

/// The report of a run.
///
/// # Errors
/// Fails when a plot cannot be drawn.
pub(crate) fn page(results: &Results) -> Result<String> {
    let mut body = String::new();
    let machine = &results.machine;
    let _ = write!(
        body,
        "<h1>spinlet bench</h1><p class=machine>{}</p><p class=machine>{} · <code>{}</code></p>",
        escape(&machine.line()),
        escape(&machine.spinlet),
        escape(&machine.command.join(" ")),
    );
    for note in &results.notes {
        let _ = write!(body, "<p class=note>{}</p>", escape(note));
    }
    let plots = plots::all(results)?;
    for (title, svg) in &plots {
        let _ = write!(body, "<h2>{}</h2>{svg}", escape(title));
    }
    for table in results.tables() {
        body.push_str(&table_of(&table));
    }
    let same = same_answers(results);
    let _ = write!(body, "<h2>Answers</h2><p>{}</p>", escape(&same));
    Ok(format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport \
         content=\"width=device-width\"><title>spinlet bench</title><style>{STYLE}</style>\
         <body>{body}</body></html>"
    ))
}

/// Whether all peers of an app have answered with the same bytes.
fn same_answers(results: &Results) -> String {
    let mut lines = Vec::new();
    for info in &results.contenders {
        if let (Some(app), Some(answer)) = (&info.app, &info.answer) {
            let others = results.contenders.iter().filter(|other| other.app.as_ref() == Some(app));
            let same =
                others.filter_map(|other| other.answer.as_ref()).all(|other| other == answer);
            let short = answer.get(..12).unwrap_or(answer);
            let verdict = if same { "as its peers" } else { "NOT as its peers" };
            lines.push(format!("{}: sha256 {short}…, {verdict}", info.name));
        }
    }
    lines.join("; ")
}

fn table_of(table: &Table) -> String {
    let mut html = format!("<h2>{}</h2><div class=wide><table><tr>", escape(&table.title));
    for (column, heading) in table.columns.iter().enumerate() {
        let cell = table.rows.first().and_then(|row| row.get(column));
        let class = class(cell.map_or("", String::as_str));
        let _ = write!(html, "<th{class}>{}</th>", escape(heading));
    }
    html.push_str("</tr>");
    for row in &table.rows {
        html.push_str("<tr>");
        for cell in row {
            let _ = write!(html, "<td{}>{}</td>", class(cell), escape(cell));
        }
        html.push_str("</tr>");
    }
    html.push_str("</table></div>");
    html
}

fn class(cell: &str) -> &'static str {
    if is_number(cell) { " class=n" } else { "" }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_is_text_on_the_page() {
        let results = Results { notes: vec!["<script>".to_owned()], ..Results::default() };
        let page = page(&results).unwrap();
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"));
    }
}
