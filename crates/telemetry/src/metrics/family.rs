//! Numbers with the same name and different labels.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Counter, Gauge, Histogram, Reader};

/// What a family is called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names {
    pub(crate) prometheus: &'static str,
    /// None: it is not exported over OTLP.
    pub(crate) otlp: Option<&'static str>,
    /// In UCUM, for OTLP.
    pub(crate) unit: &'static str,
    pub(crate) help: &'static str,
}

/// What kind of numbers a family has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Numbers with the same name and different labels.
#[derive(Debug)]
pub(crate) struct Family<S> {
    names: Names,
    labels: &'static [&'static str],
    /// The bounds of histograms.
    bounds: &'static [f64],
    series: Mutex<BTreeMap<Vec<String>, Arc<S>>>,
}

/// One kind of numbers.
pub(crate) trait Series: Sized {
    const KIND: Kind;

    fn new(bounds: &'static [f64]) -> Self;

    fn show(&self, labels: &[(&'static str, &str)], reader: &mut dyn Reader);
}

impl Series for Counter {
    const KIND: Kind = Kind::Counter;

    fn new(_: &'static [f64]) -> Self {
        Self::default()
    }

    fn show(&self, labels: &[(&'static str, &str)], reader: &mut dyn Reader) {
        reader.number(labels, i64::try_from(self.value()).unwrap_or(i64::MAX));
    }
}

impl Series for Gauge {
    const KIND: Kind = Kind::Gauge;

    fn new(_: &'static [f64]) -> Self {
        Self::default()
    }

    fn show(&self, labels: &[(&'static str, &str)], reader: &mut dyn Reader) {
        reader.number(labels, self.value());
    }
}

impl Series for Histogram {
    const KIND: Kind = Kind::Histogram;

    fn new(bounds: &'static [f64]) -> Self {
        Self::new(bounds)
    }

    fn show(&self, labels: &[(&'static str, &str)], reader: &mut dyn Reader) {
        reader.histogram(labels, self.bounds(), &self.counts(), self.sum());
    }
}

impl Family<Counter> {
    pub(crate) fn counter(names: Names, labels: &'static [&'static str]) -> Self {
        Self::new(names, labels, &[])
    }
}

impl Family<Gauge> {
    pub(crate) fn gauge(names: Names, labels: &'static [&'static str]) -> Self {
        Self::new(names, labels, &[])
    }
}

impl Family<Histogram> {
    pub(crate) fn histogram(
        names: Names,
        labels: &'static [&'static str],
        bounds: &'static [f64],
    ) -> Self {
        Self::new(names, labels, bounds)
    }
}

impl<S: Series> Family<S> {
    fn new(names: Names, labels: &'static [&'static str], bounds: &'static [f64]) -> Self {
        let family = Self { names, labels, bounds, series: Mutex::default() };
        if labels.is_empty() {
            // There from the beginning: one that is absent is not zero.
            family.with(&[]);
        }
        family
    }

    /// The numbers with these values of its labels.
    pub(crate) fn with(&self, values: &[&str]) -> Arc<S> {
        let key: Vec<String> = values.iter().map(|&value| value.to_owned()).collect();
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(series.entry(key).or_insert_with(|| Arc::new(S::new(self.bounds))))
    }

    pub(crate) fn show(&self, reader: &mut dyn Reader) {
        reader.family(&self.names, S::KIND);
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        for (values, numbers) in &*series {
            let pairs = self.labels.iter().copied().zip(values.iter().map(String::as_str));
            let labels: Vec<(&'static str, &str)> = pairs.collect();
            numbers.show(&labels, reader);
        }
    }
}
