//! The picture: a row for each job, and beneath them how many ran at once, their CPU and their memory, over the same
//! time.

use jiff::Timestamp;
use ncaas_core::failure::Result;
use ncaas_core::record::fields::Status;

use super::canvas::{Anchor, Bitmap, CHARACTER, Canvas, Colour, Svg};
use super::timeline::{Slice, Timeline};

const WIDTH: f64 = 1100.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 60.0;
/// How tall a job's row is, and all rows together at most.
const ROW: f64 = 18.0;
const ROWS: f64 = 900.0;
/// A row lower than this has no room for a name.
const NAMED: f64 = 10.0;
const PANEL: f64 = 90.0;
const BOTTOM: f64 = 40.0;
const GAP: f64 = 26.0;
const SLICES: usize = 450;

const INK: Colour = 0x30_30_30;
const FAINT: Colour = 0xDD_DD_DD;

/// What is beneath the jobs: no colour of an ending.
const SUM: Colour = 0x8A_8F_98;

/// One of the pictures beneath the jobs.
struct Panel {
    name: &'static str,
    value: fn(&Slice) -> f64,
    words: fn(f64) -> String,
}

const PANELS: [Panel; 3] = [
    Panel { name: "running at once", value: |slice| f64::from(slice.running), words: |value| format!("{value:.0}") },
    Panel { name: "CPU (100 % = 1 core)", value: |slice| slice.cpu, words: |value| format!("{value:.0} %") },
    Panel { name: "memory", value: |slice| slice.memory, words: bytes },
];

/// Each ending with its colour; the first is that of a job which still runs. Told apart also by those who do not see all
/// colours (the palette of Okabe and Ito).
const ENDINGS: [(Option<Status>, &str, Colour); 6] = [
    (None, "running", 0x00_72_B2),
    (Some(Status::Success), "success", 0x00_9E_73),
    (Some(Status::Failed), "failed", 0xD5_5E_00),
    (Some(Status::OutOfMemory), "out of memory", 0xCC_79_A7),
    (Some(Status::Killed), "killed", 0xE6_9F_00),
    (Some(Status::Timeout), "timeout", 0x56_B4_E9),
];

/// The picture as SVG.
pub(super) fn svg(timeline: &Timeline) -> Vec<u8> {
    let mut canvas = Svg::new(WIDTH as u32, height(timeline) as u32);
    draw(timeline, &mut canvas);
    canvas.finish()
}

/// The picture as PNG.
///
/// # Errors
/// When it is too large to be one.
pub(super) fn png(timeline: &Timeline) -> Result<Vec<u8>> {
    let mut canvas = Bitmap::new(WIDTH as u32, height(timeline) as u32);
    draw(timeline, &mut canvas);
    canvas.finish()
}

fn row_height(timeline: &Timeline) -> f64 {
    ROW.min(ROWS / timeline.rows.len().max(1) as f64)
}

fn height(timeline: &Timeline) -> f64 {
    let rows = row_height(timeline) * timeline.rows.len() as f64;
    (TOP + rows + PANELS.len() as f64 * (GAP + PANEL) + BOTTOM).ceil()
}

fn draw(timeline: &Timeline, canvas: &mut impl Canvas) {
    let width = WIDTH - LEFT - RIGHT;
    let x = |time: f64| LEFT + (time - timeline.start) / (timeline.end - timeline.start) * width;
    legend(timeline, canvas);
    let row = row_height(timeline);
    let ticks = ticks(timeline);
    let bottom = height(timeline) - BOTTOM;
    for (time, _) in &ticks {
        canvas.rectangle(x(*time), TOP, 0.5, bottom - TOP, FAINT);
    }
    for (at, job) in timeline.rows.iter().enumerate() {
        let y = TOP + at as f64 * row;
        let colour = ENDINGS.iter().find(|ending| ending.0 == job.status).map_or(INK, |ending| ending.2);
        let margin = if row > 4.0 { 1.0 } else { 0.0 };
        // The shortest job is still seen.
        canvas.rectangle(x(job.start), y + margin, (x(job.end) - x(job.start)).max(1.0), row - 2.0 * margin, colour);
        if row >= NAMED {
            canvas.text(LEFT - 6.0, y + row / 2.0, Anchor::End, INK, &shortened(&job.name));
        }
    }
    let rows_end = TOP + row * timeline.rows.len() as f64;
    if row < NAMED {
        let words = format!("{} jobs", timeline.rows.len());
        canvas.text(LEFT - 6.0, f64::midpoint(TOP, rows_end), Anchor::End, INK, &words);
    }
    let slices = timeline.slices(SLICES);
    let mut y = rows_end;
    for Panel { name, value, words } in PANELS {
        y += GAP;
        let most = slices.iter().map(value).fold(0.0, f64::max);
        canvas.text(LEFT - 6.0, y + 6.0, Anchor::End, INK, &words(most));
        canvas.text(LEFT - 6.0, y + PANEL / 2.0, Anchor::End, INK, name);
        canvas.text(LEFT - 6.0, y + PANEL - 6.0, Anchor::End, INK, "0");
        canvas.rectangle(LEFT, y, width, 0.5, FAINT);
        for (at, slice) in slices.iter().enumerate() {
            let tall = if most > 0.0 { value(slice) / most * PANEL } else { 0.0 };
            if tall > 0.0 {
                let step = width / SLICES as f64;
                canvas.rectangle(LEFT + at as f64 * step, y + PANEL - tall, step, tall, SUM);
            }
        }
        y += PANEL;
        canvas.rectangle(LEFT, y, width, 0.5, INK);
    }
    for (time, words) in &ticks {
        canvas.rectangle(x(*time), y, 0.5, 5.0, INK);
        canvas.text(x(*time), y + 14.0, Anchor::Middle, INK, words);
    }
}

fn legend(timeline: &Timeline, canvas: &mut impl Canvas) {
    let moment = |seconds: f64| Timestamp::from_second(seconds as i64).map(|time| time.strftime("%F %T").to_string());
    let (from, to) = (moment(timeline.start).unwrap_or_default(), moment(timeline.end).unwrap_or_default());
    let count = timeline.rows.len();
    let title = format!("{count} {}, {from} to {to} UTC", if count == 1 { "job" } else { "jobs" });
    canvas.text(LEFT, 16.0, Anchor::Start, INK, &title);
    let mut x = LEFT;
    for (status, name, colour) in ENDINGS {
        let count = timeline.rows.iter().filter(|row| row.status == status).count();
        if count > 0 {
            let words = format!("{count} {name}");
            canvas.rectangle(x, 34.0, 12.0, 12.0, colour);
            canvas.text(x + 18.0, 40.0, Anchor::Start, INK, &words);
            x += 40.0 + words.len() as f64 * CHARACTER;
        }
    }
}

/// A round time now and then, in words.
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
    let words = |time: f64| {
        let moment = Timestamp::from_millisecond((time * 1e3).round() as i64);
        moment.map(|time| time.strftime(format).to_string()).unwrap_or_default()
    };
    if count < 0.0 { Vec::new() } else { (0..=count as u32).map(|tick| (at(tick), words(at(tick)))).collect() }
}

/// Names often begin alike: of a long one both ends are kept.
fn shortened(name: &str) -> String {
    const ROOM: usize = 22;
    let characters: Vec<char> = name.chars().collect();
    if characters.len() <= ROOM {
        return name.to_owned();
    }
    let (head, tail) = (&characters[..ROOM / 2], &characters[characters.len() - (ROOM / 2 - 1)..]);
    head.iter().chain(&['~']).chain(tail).collect()
}

fn bytes(value: f64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    let mut value = value / 1e3;
    for unit in &UNITS[..3] {
        if value < 1000.0 {
            return format!("{value:.1} {unit}");
        }
        value /= 1e3;
    }
    format!("{value:.1} {}", UNITS[3])
}
