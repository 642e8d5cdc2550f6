//! Which trigger a path belongs to.
//!
//! The rules are Spin's:
//! - A route is a sequence of segments between `/`. `:name` stands for one
//!   non-empty segment, a last segment `...` (or `*`) for any rest, none
//!   included. A `.` separates like a `/`: `/a/:x.json`.
//! - All slashes at both ends of route and path are ignored; of several in a row
//!   within a path each counts. Nothing is percent-decoded.
//! - Routes are tried in this order and the first that matches wins: `/`; then segment by
//!   segment, plain text before `:name` before the wildcard before a dot before the
//!   end before a slash; then in the order of the manifest.
//! - A route that is written twice leads where the last one says. Of two that
//!   are written differently and mean the same, the first one wins.

use std::borrow::Cow;
use std::cmp::Ordering;

/// The routes of an app. `T` says what each leads to.
#[derive(Debug, Clone)]
pub struct Routes<T> {
    /// In the order in which they are tried.
    entries: Vec<(Route, T)>,
    /// Indices into `entries`, in the order of the manifest.
    listed: Vec<usize>,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    raw: String,
    based: String,
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Exact(String),
    Param(String),
    Wildcard,
    Dot,
    Slash,
}

/// A route that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// `:` without a name.
    #[error("route {route:?} has a `:` without a name")]
    UnnamedParam {
        /// The route.
        route: String,
    },
    /// `*` with a name.
    #[error("route {route:?} has a named wildcard: write `...` at its end")]
    NamedWildcard {
        /// The route.
        route: String,
    },
    /// A wildcard in the middle.
    #[error("route {route:?} has a wildcard that is not its last segment")]
    WildcardNotLast {
        /// The route.
        route: String,
    },
}

/// What the segments of a route stand for in a path.
#[derive(Default)]
struct Captures<'a> {
    params: Vec<(&'a str, &'a str)>,
    wildcard: Option<&'a str>,
}

/// A table, and the routes with their targets that it never uses.
pub type Built<T> = (Routes<T>, Vec<(String, T)>);

/// A path that belongs to a route.
#[derive(Debug)]
pub struct RouteMatch<'a, T> {
    /// What the route leads to.
    pub target: &'a T,
    /// The route.
    pub route: &'a Route,
    /// Names and values of its `:name` segments.
    pub params: Vec<(&'a str, &'a str)>,
    wildcard: Option<&'a str>,
    path: &'a str,
}

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), listed: Vec::new() }
    }
}

impl<T> Routes<T> {
    /// Makes the table from routes as they stand in the manifest; `base` is
    /// prefixed to each. Gives also the routes that are never used, because an
    /// equal one wins, with what they led to.
    ///
    /// # Errors
    ///
    /// Every route that cannot be used.
    pub fn new(
        base: &str,
        routes: impl IntoIterator<Item = (String, T)>,
    ) -> Result<Built<T>, Vec<RouteError>> {
        let mut parsed: Vec<(Route, T)> = Vec::new();
        let mut unused = Vec::new();
        let mut errors = Vec::new();
        for (raw, target) in routes {
            let route = match Route::parse(base, raw) {
                Ok(route) => route,
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            match parsed.iter_mut().find(|(other, _)| other.equals(&route)) {
                Some(entry) if entry.0.raw == route.raw => {
                    let (old, target) = std::mem::replace(entry, (route, target));
                    unused.push((old.raw, target));
                }
                Some(_) => unused.push((route.raw, target)),
                None => parsed.push((route, target)),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut entries: Vec<(usize, (Route, T))> = parsed.into_iter().enumerate().collect();
        // A stable sort: ties keep the order of the manifest.
        entries.sort_by(|(_, (a, _)), (_, (b, _))| a.order(b));
        let mut listed: Vec<(usize, usize)> = entries
            .iter()
            .enumerate()
            .map(|(tried, (in_manifest, _))| (*in_manifest, tried))
            .collect();
        listed.sort_unstable();
        let routes = Self {
            entries: entries.into_iter().map(|(_, entry)| entry).collect(),
            listed: listed.into_iter().map(|(_, tried)| tried).collect(),
        };
        Ok((routes, unused))
    }

    /// The route that `path` belongs to, if any.
    pub fn find<'a>(&'a self, path: &'a str) -> Option<RouteMatch<'a, T>> {
        let trimmed = path.trim_matches('/');
        self.entries.iter().find_map(|(route, target)| {
            let Captures { params, wildcard } = route.matches(trimmed)?;
            Some(RouteMatch { target, route, params, wildcard, path })
        })
    }

    /// All routes in the order of the manifest.
    pub fn iter(&self) -> impl Iterator<Item = (&Route, &T)> {
        self.listed
            .iter()
            .filter_map(|&index| self.entries.get(index))
            .map(|(route, target)| (route, target))
    }
}

impl Route {
    fn parse(base: &str, raw: String) -> Result<Self, RouteError> {
        let absolute = if raw.starts_with('/') { raw.clone() } else { format!("/{raw}") };
        let based = format!("{}{}", without_slash(base), without_slash(&absolute));
        let pattern = match based.strip_suffix("/...") {
            Some(prefix) => Cow::Owned(format!("{prefix}/*")),
            None => Cow::Borrowed(based.as_str()),
        };
        let segments = segments(&pattern, &raw)?;
        Ok(Self { raw, based, segments })
    }

    /// As it stands in the manifest.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// As it stands in the manifest, without a `/...` at its end.
    pub fn raw_prefix(&self) -> &str {
        self.raw.strip_suffix("/...").unwrap_or(&self.raw)
    }

    /// With the base in front.
    pub fn based(&self) -> &str {
        &self.based
    }

    /// Whether any rest of a path belongs to it.
    pub fn is_wildcard(&self) -> bool {
        self.segments.last() == Some(&Segment::Wildcard)
    }

    /// Whether it lies below `prefix`, and so is never reached if `prefix` is
    /// answered before routes are looked at.
    pub fn is_below(&self, prefix: &str) -> bool {
        self.based.starts_with(prefix)
    }

    fn equals(&self, other: &Self) -> bool {
        self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).all(|pair| match pair {
                (Segment::Param(_), Segment::Param(_)) => true,
                (one, two) => one == two,
            })
    }

    fn order(&self, other: &Self) -> Ordering {
        self.ranks().cmp(other.ranks())
    }

    fn ranks(&self) -> impl Iterator<Item = u8> {
        // No other route for the root is without a wildcard.
        let end = if self.segments.is_empty() { 0 } else { END };
        self.segments.iter().map(Segment::rank).chain([end])
    }

    /// What the segments stand for in `path`, which has no slashes at its ends;
    /// none if it does not belong to this route.
    fn matches<'a>(&'a self, path: &'a str) -> Option<Captures<'a>> {
        let mut captures = Captures::default();
        let mut rest = path;
        let mut segments = self.segments.iter().peekable();
        while let Some(segment) = segments.next() {
            match segment {
                Segment::Exact(text) => rest = rest.strip_prefix(text.as_str())?,
                Segment::Dot => rest = rest.strip_prefix('.')?,
                Segment::Slash if rest.is_empty() => {
                    // A wildcard stands for no rest, too.
                    segments.peek().filter(|next| ***next == Segment::Wildcard)?;
                }
                Segment::Slash => rest = rest.strip_prefix('/')?,
                Segment::Wildcard => {
                    captures.wildcard = Some(std::mem::take(&mut rest));
                }
                Segment::Param(name) => {
                    let end = match segments.peek() {
                        Some(Segment::Dot) => {
                            let end = rest.find(['.', '/'])?;
                            rest.get(end..)?.starts_with('.').then_some(end)?
                        }
                        _ => rest.find('/').unwrap_or(rest.len()),
                    };
                    let (value, after) = rest.split_at_checked(end)?;
                    if value.is_empty() {
                        return None;
                    }
                    captures.params.push((name, value));
                    rest = after;
                }
            }
        }
        rest.is_empty().then_some(captures)
    }
}

/// The rank of the end of a route.
const END: u8 = 4;

impl Segment {
    /// Lower ranks are tried first.
    fn rank(&self) -> u8 {
        match self {
            Self::Exact(_) => 0,
            Self::Param(_) => 1,
            Self::Wildcard => 2,
            Self::Dot => 3,
            Self::Slash => 5,
        }
    }
}

fn segments(pattern: &str, route: &str) -> Result<Vec<Segment>, RouteError> {
    let route = || route.to_owned();
    let mut segments: Vec<Segment> = Vec::new();
    let mut separator = None;
    for piece in pattern.trim_matches('/').split_inclusive(['.', '/']) {
        let (text, next) = match piece.chars().next_back() {
            Some(last @ ('.' | '/')) => (piece.strip_suffix(last).unwrap_or(piece), Some(last)),
            _ => (piece, None),
        };
        if separator == Some('.') {
            // Text keeps the dot, so that it is compared at once.
            match segments.last_mut() {
                Some(Segment::Exact(before)) => before.push('.'),
                _ => segments.push(Segment::Dot),
            }
        }
        let segment = match text {
            "" => {
                // A segment that begins with a dot.
                if separator == Some('/') && next == Some('.') && !segments.is_empty() {
                    segments.push(Segment::Slash);
                }
                None
            }
            "*" => Some(Segment::Wildcard),
            ":" => return Err(RouteError::UnnamedParam { route: route() }),
            _ if text.starts_with('*') => {
                return Err(RouteError::NamedWildcard { route: route() });
            }
            _ => Some(match text.strip_prefix(':') {
                Some(name) => Segment::Param(name.to_owned()),
                None => Segment::Exact(text.to_owned()),
            }),
        };
        if let Some(segment) = segment {
            if separator == Some('/') {
                segments.push(Segment::Slash);
            }
            segments.push(segment);
        }
        separator = next;
    }
    if separator == Some('.') {
        match segments.last_mut() {
            Some(Segment::Exact(before)) => before.push('.'),
            _ => segments.push(Segment::Dot),
        }
    }
    let wildcard = segments.iter().position(|segment| *segment == Segment::Wildcard);
    match wildcard {
        Some(index) if index + 1 < segments.len() => {
            Err(RouteError::WildcardNotLast { route: route() })
        }
        _ => Ok(segments),
    }
}

/// Without one slash at the end.
fn without_slash(text: &str) -> &str {
    text.strip_suffix('/').unwrap_or(text)
}

impl<T> RouteMatch<'_, T> {
    /// What the wildcard stands for: with a slash in front, and with the slash at
    /// the end of the path if it has one. Empty for routes without a wildcard.
    pub fn trailing_wildcard(&self) -> Cow<'static, str> {
        match (self.wildcard, self.path.ends_with('/')) {
            (None, _) | (Some(""), false) => "".into(),
            (Some(""), true) => "/".into(),
            (Some(rest), false) => format!("/{rest}").into(),
            (Some(rest), true) => format!("/{rest}/").into(),
        }
    }
}

#[cfg(test)]
mod tests;
