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
const GAP: f64 = 26.0;
const SLICES: usize = 450;

const INK: Colour = 0x30_30_30;
const FAINT: Colour = 0xDD_DD_DD;

/// One of the pictures beneath the jobs.
struct Panel {
    name: &'static str,
    colour: Colour,
    value: fn(&Slice) -> f64,
    words: fn(f64) -> String,
}

const PANELS: [Panel; 3] = [
    Panel {
        name: "running at once",
        colour: 0x4C_72_B0,
        value: |slice| f64::from(slice.running),
        words: |value| format!("{value:.0}"),
    },
    Panel { name: "CPU", colour: 0xDD_84_52, value: |slice| slice.cpu, words: |value| format!("{value:.0} %") },
    Panel { name: "memory", colour: 0x55_A8_68, value: |slice| slice.memory, words: bytes },
];

/// Each ending with its colour; the first is that of a job which still runs.
const ENDINGS: [(Option<Status>, &str, Colour); 6] = [
    (None, "running", 0x4C_72_B0),
    (Some(Status::Success), "success", 0x2E_9E_4F),
    (Some(Status::Failed), "failed", 0xC4_4E_52),
    (Some(Status::OutOfMemory), "out of memory", 0x81_72_B3),
    (Some(Status::Killed), "killed", 0xDD_84_52),
    (Some(Status::Timeout), "timeout", 0xCC_B9_74),
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
    (TOP + rows + PANELS.len() as f64 * (GAP + PANEL) + 40.0).ceil()
}

fn draw(timeline: &Timeline, canvas: &mut impl Canvas) {
    let width = WIDTH - LEFT - RIGHT;
    let x = |time: f64| LEFT + (time - timeline.start) / (timeline.end - timeline.start) * width;
    legend(timeline, canvas);
    let row = row_height(timeline);
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
    for Panel { name, colour, value, words } in PANELS {
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
                canvas.rectangle(LEFT + at as f64 * step, y + PANEL - tall, step, tall, colour);
            }
        }
        y += PANEL;
        canvas.rectangle(LEFT, y, width, 0.5, INK);
    }
    times(timeline, canvas, y, &x);
}

fn legend(timeline: &Timeline, canvas: &mut impl Canvas) {
    let moment = |seconds: f64| Timestamp::from_second(seconds as i64).map(|time| time.strftime("%F %T").to_string());
    let (from, to) = (moment(timeline.start).unwrap_or_default(), moment(timeline.end).unwrap_or_default());
    let title = format!("{} jobs, {from} to {to} UTC", timeline.rows.len());
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

/// A round time now and then, under everything.
fn times(timeline: &Timeline, canvas: &mut impl Canvas, y: f64, x: &impl Fn(f64) -> f64) {
    const STEPS: [f64; 16] = [
        0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 10_800.0, 21_600.0, 43_200.0, 86_400.0,
        604_800.0,
    ];
    let length = timeline.end - timeline.start;
    let step = STEPS.iter().copied().find(|step| length / step <= 8.0).unwrap_or(length / 6.0);
    let mut time = (timeline.start / step).ceil() * step;
    while time <= timeline.end {
        canvas.rectangle(x(time), y, 0.5, 5.0, INK);
        let format = match step {
            step if step >= 86_400.0 => "%F",
            step if step >= 60.0 => "%H:%M",
            step if step >= 1.0 => "%T",
            _ => "%T.%1f",
        };
        let moment = Timestamp::from_millisecond((time * 1e3).round() as i64);
        let words = moment.map(|time| time.strftime(format).to_string()).unwrap_or_default();
        canvas.text(x(time), y + 14.0, Anchor::Middle, INK, &words);
        time += step;
    }
}

fn shortened(name: &str) -> String {
    const ROOM: usize = 21;
    match name.char_indices().nth(ROOM) {
        Some((end, _)) => format!("{}~", &name[..end]),
        None => name.to_owned(),
    }
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
