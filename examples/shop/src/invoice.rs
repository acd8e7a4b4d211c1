//! An invoice as a PDF of one page.

use pdf_writer::{Content, Finish, Name, Pdf, Rect, Ref, Str};

use crate::orders::NewOrder;
use crate::tasks::euros;

/// A page of A4, in points.
const PAGE: Rect = Rect { x1: 0.0, y1: 0.0, x2: 595.0, y2: 842.0 };
const FONT: Name<'static> = Name(b"F1");
const LINE_HEIGHT: f32 = 18.0;
/// Lines that fit on the page.
const LINES_MAX: usize = 38;

/// The invoice of an order.
pub(crate) fn pdf(number: i64, order: &NewOrder) -> Vec<u8> {
    let [catalog, pages, page, font, text] = [1, 2, 3, 4, 5].map(Ref::new);
    let mut pdf = Pdf::new();
    pdf.catalog(catalog).pages(pages);
    pdf.pages(pages).kids([page]).count(1);
    let mut one = pdf.page(page);
    one.parent(pages).media_box(PAGE).contents(text);
    one.resources().fonts().pair(FONT, font);
    one.finish();
    pdf.type1_font(font).base_font(Name(b"Helvetica"));
    let mut content = Content::new();
    content.begin_text();
    content.set_font(FONT, 11.0);
    content.next_line(60.0, 780.0);
    for line in lines(number, order).iter().take(LINES_MAX) {
        // The fonts that every reader has know Latin letters.
        let latin: Vec<u8> = line.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect();
        content.show(Str(&latin));
        content.next_line(0.0, -LINE_HEIGHT);
    }
    content.end_text();
    pdf.stream(text, &content.finish());
    pdf.finish()
}

fn lines(number: i64, order: &NewOrder) -> Vec<String> {
    let mut lines = vec![format!("Invoice {number}"), order.customer.clone(), String::new()];
    lines.extend(order.lines.iter().map(|line| {
        format!(
            "{} x {}, {} each: {}",
            line.count,
            line.item,
            euros(line.cents),
            euros(line.cents * line.count)
        )
    }));
    lines.push(format!("Total: {}", euros(order.cents())));
    lines
}
