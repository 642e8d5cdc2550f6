//! The plots of the report, as SVG.

use std::ops::Range;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::results::{MemorySample, Results, StartSample};
use crate::statistics::Summary;

/// Width of every plot in pixels.
const WIDTH: u32 = 1100;
/// Room for names at the left of a plot.
const NAMES: u32 = 150;
/// Phases that contain others.
const TOTALS: [&str; 2] = ["create", "start"];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Title and SVG of every plot for which there are samples.
pub(super) fn all(results: &Results) -> Result<Vec<(String, String)>> {
    let mut plots = Vec::new();
    let mut add = |title: &str, svg: Option<String>| {
        plots.extend(svg.map(|svg| (title.to_owned(), svg)));
    };
    for scenario in ["first", "cold", "warm"] {
        let title = format!("Starts ({scenario}): every sample, and the median, ms");
        add(&title, starts(results, scenario)?);
    }
    add("Steps of a warm start, ms", phases(results)?);
    let pss = memory(results, |sample| Some(sample.pss_bytes as f64))?;
    add("Memory over replicas: proportional set size, MB", pss);
    let kernel = memory(results, |sample| sample.kernel_bytes.map(|bytes| bytes as f64))?;
    add("Memory over replicas: kernel, MB", kernel);
    add("Start of the k-th replica, ms", growth(results)?);
    add(
        "Latency over the share of requests that are faster, at half of capacity, ms",
        load(results)?,
    );
    Ok(plots)
}

/// Draws into a new SVG.
fn svg(height: u32, draw: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
        draw(&area)?;
        area.present().map_err(failed)?;
    }
    Ok(text)
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("a plot cannot be drawn: {error}")
}

fn color(number: usize) -> RGBColor {
    const COLORS: [RGBColor; 8] = [
        RGBColor(31, 119, 180),
        RGBColor(255, 127, 14),
        RGBColor(44, 160, 44),
        RGBColor(214, 39, 40),
        RGBColor(148, 103, 189),
        RGBColor(140, 86, 75),
        RGBColor(227, 119, 194),
        RGBColor(127, 127, 127),
    ];
    COLORS.get(number % COLORS.len()).copied().unwrap_or(BLACK)
}

/// One row for each contender; the names of the rows stand at the left.
fn rows<'a, 'b: 'a>(
    area: &'a Area<'b>,
    names: &[String],
    right: f64,
    draw: impl FnOnce(&mut Rows<'a, 'b>) -> Result<()>,
) -> Result<()> {
    let last = names.len() as f64 - 0.5;
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(NAMES)
        .build_cartesian_2d(0.0..right, last..-0.5)
        .map_err(failed)?;
    let name = |position: &f64| {
        let index = position.round();
        let on_it = (position - index).abs() < 0.01 && index >= 0.0;
        names.get(index as usize).filter(|_| on_it).cloned().unwrap_or_default()
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(WHITE)
        .y_labels(names.len() * 2 + 1)
        .y_label_formatter(&name)
        .x_label_formatter(&|value| format!("{value:.0}"))
        .draw()
        .map_err(failed)?;
    draw(&mut chart)
}

type Rows<'a, 'b> = ChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;

fn row_height(count: usize) -> u32 {
    60 + 34 * u32::try_from(count).unwrap_or_default()
}

fn starts(results: &Results, scenario: &str) -> Result<Option<String>> {
    let mut names = Vec::new();
    let mut values: Vec<Vec<f64>> = Vec::new();
    for info in &results.contenders {
        let own = results.starts_of(scenario, &info.name).filter_map(StartSample::headline_ms);
        let own: Vec<f64> = own.collect();
        if !own.is_empty() {
            names.push(info.name.clone());
            values.push(own);
        }
    }
    let right = values.iter().flatten().copied().fold(0.0, f64::max) * 1.05;
    if names.is_empty() {
        return Ok(None);
    }
    let drawn = svg(row_height(names.len()), |area| {
        rows(area, &names, right, |chart| {
            for (row, values) in values.iter().enumerate() {
                let (y, color) = (row as f64, color(row));
                let points =
                    values.iter().map(|x| Circle::new((*x, y), 4, color.mix(0.45).filled()));
                chart.draw_series(points).map_err(failed)?;
                if let Some(summary) = Summary::of(values.iter().copied()) {
                    let median = [(summary.median, y - 0.35), (summary.median, y + 0.35)];
                    let line = PathElement::new(median, color.stroke_width(3));
                    let (from, to) = summary.interval;
                    let interval = PathElement::new([(from, y), (to, y)], color.stroke_width(2));
                    chart.draw_series([line, interval]).map_err(failed)?;
                }
            }
            Ok(())
        })
    })?;
    Ok(Some(drawn))
}

fn phases(results: &Results) -> Result<Option<String>> {
    let all = results.phases();
    let names: Vec<String> = all.keys().cloned().collect();
    let own: Vec<Vec<(String, f64)>> = all
        .into_values()
        .map(|steps| steps.into_iter().filter(|step| !TOTALS.contains(&step.0.as_str())).collect())
        .collect();
    let sum = |steps: &Vec<(String, f64)>| steps.iter().map(|step| step.1).sum::<f64>();
    let right = own.iter().map(sum).fold(0.0, f64::max) * 1.25;
    if names.is_empty() || right == 0.0 {
        return Ok(None);
    }
    let mut kinds: Vec<&String> = Vec::new();
    for (name, _) in own.iter().flatten() {
        if !kinds.contains(&name) {
            kinds.push(name);
        }
    }
    let drawn = svg(row_height(names.len()) + 60, |area| {
        rows(area, &names, right, |chart| {
            for (number, kind) in kinds.iter().enumerate() {
                let color = color(number);
                let bars = own.iter().enumerate().filter_map(|(row, steps)| {
                    let index = steps.iter().position(|step| step.0 == **kind)?;
                    let from: f64 = steps.iter().take(index).map(|step| step.1).sum();
                    let to = from + steps.get(index)?.1;
                    let y = row as f64;
                    Some(Rectangle::new([(from, y - 0.3), (to, y + 0.3)], color.filled()))
                });
                chart.draw_series(bars).map_err(failed)?.label(kind.as_str()).legend(
                    move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], color.filled()),
                );
            }
            legend(chart)
        })
    })?;
    Ok(Some(drawn))
}

fn legend<'a, 'b: 'a>(chart: &mut Rows<'a, 'b>) -> Result<()> {
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(200, 200, 200))
        .draw()
        .map_err(failed)
}

/// A named row of points.
type Series = (String, Vec<(f64, f64)>);

/// One line for each series.
fn lines(series: &[Series], x: Range<f64>) -> Result<Option<String>> {
    let highest = series.iter().flat_map(|(_, points)| points).map(|point| point.1);
    let highest = highest.fold(0.0, f64::max) * 1.08;
    if highest <= 0.0 {
        return Ok(None);
    }
    let drawn = svg(380, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .x_label_area_size(30)
            .y_label_area_size(60)
            .build_cartesian_2d(x, 0.0..highest)
            .map_err(failed)?;
        chart.configure_mesh().light_line_style(WHITE).draw().map_err(failed)?;
        for (number, (name, points)) in series.iter().enumerate() {
            let color = color(number);
            chart
                .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))
                .map_err(failed)?
                .label(name.as_str())
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 14, y)], color.stroke_width(2))
                });
            let dots = points.iter().map(|point| Circle::new(*point, 3, color.filled()));
            chart.draw_series(dots).map_err(failed)?;
        }
        legend(&mut chart)
    })?;
    Ok(Some(drawn))
}

fn series(results: &Results, points: impl Fn(&str) -> Vec<(f64, f64)>) -> Vec<Series> {
    let names = results.contenders.iter().map(|info| info.name.clone());
    names
        .map(|name| {
            let points = points(&name);
            (name, points)
        })
        .filter(|(_, points)| !points.is_empty())
        .collect()
}

fn furthest(series: &[Series]) -> f64 {
    series.iter().flat_map(|(_, points)| points).map(|point| point.0).fold(1.0, f64::max)
}

fn memory(
    results: &Results,
    value: impl Fn(&MemorySample) -> Option<f64>,
) -> Result<Option<String>> {
    let series = series(results, |name| {
        let own = results.memory.iter().filter(|sample| sample.contender == name);
        own.filter_map(|sample| Some((sample.replicas as f64, value(sample)? / 1e6))).collect()
    });
    lines(&series, 0.0..furthest(&series) * 1.02)
}

fn growth(results: &Results) -> Result<Option<String>> {
    let series = series(results, |name| {
        let own = results.starts_of("replicas", name);
        own.filter_map(|start| Some((start.order as f64, start.headline_ms()?))).collect()
    });
    lines(&series, 0.0..furthest(&series) * 1.02)
}

fn load(results: &Results) -> Result<Option<String>> {
    let series = series(results, |name| {
        let half = results.load(name, Some(0.5));
        let latencies = half.map(|load| load.latency_ms.clone()).unwrap_or_default();
        latencies.into_iter().filter(|(quantile, _)| (0.5..=0.99).contains(quantile)).collect()
    });
    lines(&series, 0.5..1.0)
}
