//! Draws jobs: a row for each, and below them how many ran at once, their CPU and their memory, over the same time.

mod canvas;
mod png;
mod svg;

use jiff::Timestamp;
use ncaas_core::failure::Result;
use ncaas_core::quantity::{format_bytes, format_count};
use ncaas_core::record::fields::Status;
use ncaas_core::text::{serialized_name, shorten_middle};

use crate::job_summary::describe_class;
use crate::timeline::{Row, Slice, Timeline, format_utc};
pub(crate) use canvas::Colour;
use canvas::{Anchor, CHARACTER, Canvas};
use png::Png;
use svg::Svg;

const WIDTH: f64 = 1100.0;
const RIGHT: f64 = 20.0;
/// The height of the legend.
const LEGEND: f64 = 60.0;
/// The height of a job's row, and the maximum height of all rows.
const ROW: f64 = 18.0;
const ROWS: f64 = 1500.0;
/// How many characters of names fit beside the rows: enough for the names of the panels, and not more than leaves room
/// for the rows.
const NAME_ROOM: std::ops::RangeInclusive<usize> = 22..=44;
/// The height that a name needs.
const NAME_HEIGHT: f64 = 12.0;
const PANEL: f64 = 90.0;
const BOTTOM: f64 = 40.0;
const GAP: f64 = 26.0;
const SLICES: usize = 450;

/// The colours that depend on where the picture is shown.
struct Theme {
    background: Colour,
    ink: Colour,
    faint: Colour,
    failed: Colour,
    /// Where the first row begins: below the legend, which the page has outside the picture.
    top: f64,
}

/// A picture in a file.
const FILE: Theme = Theme { background: "#ffffff", ink: "#303030", faint: "#dddddd", failed: "#b03a00", top: LEGEND };

/// A picture in a page whose style sheet sets these variables.
const PAGE: Theme =
    Theme { background: "var(--page)", ink: "var(--ink)", faint: "var(--faint)", failed: "var(--failed)", top: 4.0 };

/// The panels below the jobs, which have the colour of no status.
const SUM: Colour = "#8a8f98";

/// A panel below the jobs.
struct Panel {
    name: &'static str,
    value: fn(&Slice) -> f64,
    label: fn(f64) -> String,
    /// Whether the values come from samples of running jobs.
    is_sampled: bool,
}

const PANELS: [Panel; 3] = [
    Panel {
        name: "running at once",
        value: |slice| f64::from(slice.running),
        label: |value| format!("{value:.0}"),
        is_sampled: false,
    },
    Panel { name: "CPU (100 % = 1 core)", value: |slice| slice.cpu, label: format_percent, is_sampled: true },
    Panel { name: "memory", value: |slice| slice.memory, label: |value| format_bytes(value as u64), is_sampled: true },
];

/// The colour of each status; the first is that of a running job. People with colour blindness can distinguish them
/// (the palette of Okabe and Ito).
pub(crate) const STATUSES: [(Option<Status>, Colour); 6] = [
    (None, "#0072b2"),
    (Some(Status::Success), "#009e73"),
    (Some(Status::Failed), "#d55e00"),
    (Some(Status::OutOfMemory), "#cc79a7"),
    (Some(Status::Killed), "#e69f00"),
    (Some(Status::Timeout), "#56b4e9"),
];

/// The word for a job's status.
pub(crate) fn status_word(status: Option<Status>) -> String {
    status.map_or("running".to_owned(), |status| serialized_name(&status))
}

pub(crate) fn draw_svg(timeline: &Timeline) -> String {
    draw_with_theme(timeline, &FILE)
}

/// The picture as SVG for an HTML page with the style sheet's variables `--page`, `--ink`, `--faint` and `--failed`.
pub(crate) fn draw_for_page(timeline: &Timeline) -> String {
    draw_with_theme(timeline, &PAGE)
}

pub(crate) fn draw_png(timeline: &Timeline) -> Result<Vec<u8>> {
    let mut png = Png::new(WIDTH as u32, height(timeline, &FILE) as u32, FILE.background)?;
    draw(timeline, &FILE, &mut png);
    png.finish()
}

fn draw_with_theme(timeline: &Timeline, theme: &Theme) -> String {
    let mut svg = Svg::new(WIDTH as u32, height(timeline, theme) as u32, theme.background);
    draw(timeline, theme, &mut svg);
    svg.finish()
}

/// The width of the names beside the rows, and how many characters of a name fit.
fn name_width(timeline: &Timeline) -> (f64, usize) {
    let longest = timeline.rows.iter().map(|row| row.label.chars().count()).max().unwrap_or_default();
    let characters = longest.clamp(*NAME_ROOM.start(), *NAME_ROOM.end());
    (characters as f64 * CHARACTER + 18.0, characters)
}

/// Percent of one CPU. Jobs that mostly wait use less than one percent.
fn format_percent(percent: f64) -> String {
    if percent >= 10.0 || percent == 0.0 { format!("{percent:.0} %") } else { format!("{percent:.2} %") }
}

fn row_height(timeline: &Timeline) -> f64 {
    ROW.min(ROWS / timeline.rows.len().max(1) as f64)
}

fn height(timeline: &Timeline, theme: &Theme) -> f64 {
    let rows = row_height(timeline) * timeline.rows.len() as f64;
    (theme.top + rows + PANELS.len() as f64 * (GAP + PANEL) + BOTTOM).ceil()
}

fn draw(timeline: &Timeline, theme: &Theme, canvas: &mut dyn Canvas) {
    let (left, _) = name_width(timeline);
    let width = WIDTH - left - RIGHT;
    let x = |time: f64| left + (time - timeline.start) / (timeline.end - timeline.start) * width;
    if theme.top >= LEGEND {
        draw_legend(timeline, theme, canvas);
    }
    let ticks = ticks(timeline);
    let bottom = height(timeline, theme) - BOTTOM;
    for (time, _) in &ticks {
        canvas.rectangle([x(*time), theme.top, 0.5, bottom - theme.top], theme.faint, None);
    }
    let row = row_height(timeline);
    for (at, job) in timeline.rows.iter().enumerate() {
        let y = theme.top + at as f64 * row;
        let colour = STATUSES.iter().find(|status| status.0 == job.status).map_or(theme.ink, |status| status.1);
        let margin = if row > 4.0 { 1.0 } else { 0.0 };
        // The shortest job is visible too.
        let run = [x(job.start), y + margin, (x(job.end) - x(job.start)).max(1.0), row - 2.0 * margin];
        canvas.rectangle(run, colour, Some(&title(job)));
    }
    draw_names(timeline, theme, canvas);
    let slices = timeline.slices(SLICES);
    let unknown = timeline.rows.iter().filter(|row| !row.has_samples()).count();
    let mut y = theme.top + row * timeline.rows.len() as f64;
    for Panel { name, value, label, is_sampled } in PANELS {
        y += GAP;
        let most = slices.iter().map(value).fold(0.0, f64::max);
        let mut labels = vec![label(most), name.to_owned()];
        if is_sampled && unknown > 0 {
            let jobs = format_count(unknown, "job");
            let is_empty = unknown == timeline.rows.len();
            if is_empty {
                labels[0] = "no samples".to_owned()
            } else {
                labels.push(format!("no samples: {jobs}"))
            }
            // The times at which a job without samples ran: what all jobs used is not known.
            let (step, mut x) = (width / SLICES as f64, left);
            for run in slices.chunk_by(|one, next| one.is_unknown == next.is_unknown) {
                let length = run.len() as f64 * step;
                if run[0].is_unknown {
                    canvas.rectangle([x, y, length, PANEL], theme.faint, None);
                }
                x += length;
            }
        }
        for (line, label) in labels.iter().enumerate() {
            canvas.text(left - 6.0, y + 6.0 + line as f64 * 18.0, Anchor::End, theme.ink, label);
        }
        canvas.rectangle([left, y + PANEL, width, 1.0], theme.ink, None);
        let heights: Vec<f64> =
            slices.iter().map(|slice| if most > 0.0 { value(slice) / most * PANEL } else { 0.0 }).collect();
        canvas.steps([left, y + PANEL, width / SLICES as f64], &heights, SUM);
        y += PANEL;
    }
    for (time, label) in ticks {
        canvas.text(x(time), bottom + 14.0, Anchor::Middle, theme.ink, &label);
    }
}

/// The text that a browser shows when the pointer is over a job.
fn title(job: &Row) -> String {
    format!("{}: {}, {:.1} s", job.name, describe_class(&status_word(job.status)), job.end - job.start)
}

/// Writes the names of all jobs. If there is not enough room, those of the failed ones, and others where no name is
/// near.
fn draw_names(timeline: &Timeline, theme: &Theme, canvas: &mut dyn Canvas) {
    let row = row_height(timeline);
    let (left, characters) = name_width(timeline);
    let right = left - 6.0;
    let middle = |at: usize| theme.top + (at as f64 + 0.5) * row;
    if row >= NAME_HEIGHT {
        for (at, job) in timeline.rows.iter().enumerate() {
            canvas.text(right, middle(at), Anchor::End, theme.ink, &shorten_middle(&job.label, characters));
        }
        return;
    }
    let rows_end = theme.top + row * timeline.rows.len() as f64;
    let failed = timeline.rows.iter().enumerate().filter(|(_, job)| job.has_failed());
    let mut names: Vec<(f64, &Row)> = failed.map(|(at, job)| (middle(at), job)).collect();
    let room = ((rows_end - theme.top) / NAME_HEIGHT) as usize;
    let left_out = names.len().saturating_sub(room);
    let mut last = rows_end - NAME_HEIGHT / 2.0;
    if left_out > 0 {
        names.truncate(room.saturating_sub(1));
        canvas.text(right, last, Anchor::End, theme.ink, &format!("and {} more failed", left_out + 1));
        last -= NAME_HEIGHT;
    }
    // As near to their rows as names above them and below them allow.
    let mut next = theme.top + NAME_HEIGHT / 2.0;
    for (y, _) in &mut names {
        *y = y.max(next);
        next = *y + NAME_HEIGHT;
    }
    for (y, job) in names.iter_mut().rev() {
        *y = y.min(last);
        last = *y - NAME_HEIGHT;
        canvas.text(right, *y, Anchor::End, theme.failed, &shorten_middle(&job.label, characters));
    }
    let mut written: Vec<f64> = names.iter().map(|(y, _)| *y).collect();
    for (at, job) in timeline.rows.iter().enumerate().filter(|(_, job)| !job.has_failed()) {
        let y = middle(at);
        // The last name may be the number of those that were left out.
        let is_free = left_out == 0 && written.iter().all(|other| (y - other).abs() >= NAME_HEIGHT);
        if is_free {
            written.push(y);
            canvas.text(right, y, Anchor::End, theme.ink, &shorten_middle(&job.label, characters));
        }
    }
}

fn draw_legend(timeline: &Timeline, theme: &Theme, canvas: &mut dyn Canvas) {
    let (from, to) = (format_utc(timeline.start), format_utc(timeline.end));
    let title = format!("{}, {from} to {to} UTC", format_count(timeline.rows.len(), "job"));
    let (left, _) = name_width(timeline);
    canvas.text(left, 16.0, Anchor::Start, theme.ink, &title);
    let mut x = left;
    for (status, colour) in STATUSES {
        let count = timeline.rows.iter().filter(|row| row.status == status).count();
        if count > 0 {
            let label = format!("{count} {}", describe_class(&status_word(status)));
            canvas.rectangle([x, 34.0, 12.0, 12.0], colour, None);
            canvas.text(x + 18.0, 40.0, Anchor::Start, theme.ink, &label);
            x += 40.0 + label.len() as f64 * CHARACTER;
        }
    }
}

/// Round times and their labels.
fn ticks(timeline: &Timeline) -> Vec<(f64, String)> {
    const STEPS: [f64; 16] = [
        0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 10_800.0, 21_600.0, 43_200.0, 86_400.0,
        604_800.0,
    ];
    const DAY: f64 = 86_400.0;
    let length = timeline.end - timeline.start;
    let step = STEPS.iter().copied().find(|step| length / step <= 8.0).unwrap_or(length / 6.0);
    let format = match step {
        step if step >= DAY => "%F",
        step if step >= 60.0 && length > DAY => "%m-%d %H:%M",
        step if step >= 60.0 => "%H:%M",
        step if step >= 1.0 => "%T",
        _ => "%T.%1f",
    };
    let first = (timeline.start / step).ceil();
    let count = (timeline.end / step).floor() - first;
    let at = |tick: u32| (first + f64::from(tick)) * step;
    let label = |time: f64| {
        let moment = Timestamp::from_millisecond((time * 1e3).round() as i64);
        moment.map(|time| time.strftime(format).to_string()).unwrap_or_default()
    };
    if count < 0.0 { Vec::new() } else { (0..=count as u32).map(|tick| (at(tick), label(at(tick)))).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ncaas_core::record::Record;

    #[test]
    fn small_cpu_use_has_a_number_and_long_names_have_room() {
        assert_eq!([0.0, 0.3, 9.96, 97.2].map(format_percent), ["0 %", "0.30 %", "9.96 %", "97 %"]);
        let row = |id: &str| {
            let record = format!(
                r#"{{"job":{{"id":"job__an_2026_11_27_23_{id}"}},"dataname":"/d/session01.npy","container":{{"status":"success",
                "started_at":"2026-11-27T23:00:00Z","finished_at":"2026-11-27T23:00:01Z"}}}}"#
            );
            Row::from_record(&Record::parse(record.as_bytes()).unwrap()).unwrap()
        };
        let svg = draw_svg(&Timeline::new(vec![row("41_26_868153"), row("41_27_868153")]));
        assert!(
            svg.contains(">session01.npy …26_868153</text>") && svg.contains(">session01.npy …27_868153<"),
            "{svg}"
        );
        assert!(svg.contains("<title>session01.npy job__an_2026_11_27_23_41_26_868153: succeeded"), "{svg}");
    }
}
