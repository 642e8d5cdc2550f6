use proptest::prelude::*;

use super::*;

fn routes(list: &[&str]) -> Routes<String> {
    Routes::new("/", list.iter().map(|&route| (route.to_owned(), route.to_owned()))).unwrap().0
}

fn find(list: &[&str], path: &str) -> Option<String> {
    routes(list).find(path).map(|found| found.target.clone())
}

#[test]
fn paths_find_their_route() {
    let table: &[(&[&str], &str, Option<&str>)] = &[
        (&["/foo", "/foo/bar"], "/foo", Some("/foo")),
        (&["/foo", "/foo/bar"], "/foo/bar", Some("/foo/bar")),
        (&["/foo"], "/foo/", Some("/foo")),
        (&["/foo"], "//foo", Some("/foo")),
        (&["/foo/"], "/foo", Some("/foo/")),
        (&["foo"], "/foo", Some("foo")),
        (&["/foo"], "/bar", None),
        (&["/foo"], "/foobar", None),
        (&["/foo"], "/Foo", None),
        (&["/foo/bar"], "/foo//bar", None),
        (&["/:a/:b"], "/foo//bar", None),
        (&["/foo/bar"], "/foobar", None),
        (&["/..."], "/", Some("/...")),
        (&["/..."], "/any/thing/", Some("/...")),
        (&["/*"], "/any/thing", Some("/*")),
        (&["/", "/..."], "/", Some("/")),
        (&["/", "/..."], "/x", Some("/...")),
        (&["/"], "/x", None),
        (&["/one", "/..."], "/one", Some("/one")),
        (&["/one", "/one/..."], "/one", Some("/one")),
        (&["/one", "/one/..."], "/one/", Some("/one")),
        (&["/one/...", "/one/two/..."], "/one/two/three", Some("/one/two/...")),
        (&["/one/...", "/one/two/..."], "/one/two", Some("/one/two/...")),
        (&["/one/..."], "/one", Some("/one/...")),
        (&["/one/..."], "/oneself", None),
        (&["/:a", "/fixed"], "/fixed", Some("/fixed")),
        (&["/:a", "/fixed"], "/other", Some("/:a")),
        (&["/:a"], "/", None),
        (&["/a/:b/c", "/a/..."], "/a/x/c", Some("/a/:b/c")),
        (&["/a/:b/c", "/a/..."], "/a/x/d", Some("/a/...")),
        (&["/user/:id"], "/users1", None),
        (&["/:a.json", "/:a"], "/x.json", Some("/:a.json")),
        (&["/:a.json", "/:a"], "/x.txt", Some("/:a")),
        (&["/b", "/:a", "/:a.json"], "/x.json", Some("/:a.json")),
        (&["/:a/...", "/:a.json/..."], "/x.json/y", Some("/:a.json/...")),
        (&["/a.b"], "/a.b", Some("/a.b")),
        (&["/a.b"], "/a/b", None),
        (&["/%41"], "/A", None),
        (&["/.hidden"], "/.hidden", Some("/.hidden")),
        (&["/a/../b"], "/a/../b", Some("/a/../b")),
        (&["/a/.b"], "/a/.b", Some("/a/.b")),
        (&["/a/.b"], "/a.b", None),
        (&["/a/."], "/a/.", Some("/a/.")),
        (&["/a."], "/a.", Some("/a.")),
    ];
    for (list, path, expected) in table {
        assert_eq!(find(list, path).as_deref(), *expected, "{path} in {list:?}");
    }
}

#[test]
fn the_trailing_wildcard_keeps_slashes_as_spin_does() {
    for (route, path, expected) in [
        ("/test/...", "/test", ""),
        ("/test/...", "/test/", "/"),
        ("/test/...", "/test/hello", "/hello"),
        ("/test/...", "/test/hello/", "/hello/"),
        ("/...", "/", "/"),
        ("/...", "/1/2/3", "/1/2/3"),
        ("/test/...", "/test//hello", "//hello"),
        ("/...", "/https://a.test//b", "/https://a.test//b"),
        ("/test", "/test", ""),
        ("/test", "/test/", ""),
    ] {
        let routes = routes(&[route]);
        let found = routes.find(path).unwrap();
        assert_eq!(found.trailing_wildcard(), expected, "{route} {path}");
    }
}

#[test]
fn params_are_captured_by_name() {
    let routes = routes(&["/base/:one/:two.txt/..."]);
    let found = routes.find("/base/a/b.txt/rest").unwrap();
    assert_eq!(found.params, [("one", "a"), ("two", "b")]);
    assert_eq!(found.trailing_wildcard(), "/rest");
}

#[test]
fn the_base_is_prefixed() {
    let (routes, _) =
        Routes::new("/base", [("/foo".to_owned(), 1), ("/...".to_owned(), 2)]).unwrap();
    assert_eq!(*routes.find("/base/foo").unwrap().target, 1);
    assert_eq!(*routes.find("/base/x").unwrap().target, 2);
    assert!(routes.find("/foo").is_none());
    let found = routes.find("/base/x").unwrap();
    assert_eq!((found.route.based(), found.route.raw()), ("/base/...", "/..."));
    assert_eq!(found.route.raw_prefix(), "");
}

#[test]
fn of_equal_routes_one_wins_and_the_others_are_reported() {
    let list = ["/foo", "/x", "/foo", "/foo/", "/:a", "/:b"];
    let (routes, unused) =
        Routes::new("/", list.iter().enumerate().map(|(n, route)| ((*route).to_owned(), n)))
            .unwrap();
    assert_eq!(*routes.find("/foo").unwrap().target, 2);
    assert_eq!(*routes.find("/y").unwrap().target, 4);
    let unused: Vec<_> = unused.into_iter().map(|(_, target)| target).collect();
    assert_eq!(unused, [0, 3, 5]);
    let listed: Vec<_> = routes.iter().map(|(_, target)| *target).collect();
    assert_eq!(listed, [2, 1, 4]);
}

#[test]
fn every_bad_route_is_reported() {
    let list = ["/:", "/*name", "/a/*/b", "/.../b", "/fine"];
    let errors = Routes::new("/", list.map(|route| (route.to_owned(), ()))).unwrap_err();
    let text: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(text.len(), 3, "{text:?}");
    assert!(text.iter().all(|text| text.contains("route \"/")), "{text:?}");
}

/// The rules once more, segment by segment, for routes without dots.
fn model(list: &[Vec<String>], path: &[String]) -> Option<usize> {
    let fits = |route: &[String]| {
        let wildcard = route.last().is_some_and(|last| last == "...");
        let fixed = if wildcard { &route[..route.len() - 1] } else { route };
        (if wildcard { path.len() >= fixed.len() } else { path.len() == fixed.len() })
            && fixed.iter().zip(path).all(|(want, have)| want.starts_with(':') || want == have)
    };
    let rank = |segment: Option<&String>| match segment.map(String::as_str) {
        // A route that ends sooner matches only where the other has a wildcard.
        None => 2,
        Some("...") => 3,
        Some(text) if text.starts_with(':') => 1,
        Some(_) => 0,
    };
    let mut best: Option<usize> = None;
    for (index, route) in list.iter().enumerate() {
        if !fits(route) {
            continue;
        }
        let better = best.is_none_or(|best| {
            let other = &list[best];
            let length = route.len().max(other.len());
            let mine: Vec<_> = (0..length).map(|at| rank(route.get(at))).collect();
            let theirs: Vec<_> = (0..length).map(|at| rank(other.get(at))).collect();
            mine < theirs || (mine == theirs && route == other)
        });
        if better {
            best = Some(index);
        }
    }
    best
}

proptest! {
    #[test]
    fn the_table_agrees_with_the_rules(
        list in prop::collection::vec(
            (prop::collection::vec("[ab]|:[xy]", 0..4), any::<bool>()),
            1..6,
        ),
        path in prop::collection::vec("[abc]", 0..5),
    ) {
        let list: Vec<Vec<String>> = list
            .into_iter()
            .map(|(mut segments, wildcard)| {
                if wildcard {
                    segments.push("...".to_owned());
                }
                segments
            })
            .collect();
        let written = list.iter().enumerate().map(|(n, route)| (format!("/{}", route.join("/")), n));
        let (routes, _) = Routes::new("/", written).unwrap();
        let text = format!("/{}", path.join("/"));
        let found = routes.find(&text).map(|found| *found.target);
        prop_assert_eq!(found, model(&list, &path), "{} in {:?}", text, list);
    }

    #[test]
    fn no_route_and_no_path_makes_it_panic(list in prop::collection::vec("\\PC{0,12}", 0..5), path in "\\PC{0,20}") {
        if let Ok((routes, _)) = Routes::new("/", list.into_iter().map(|route| (route, ())))
            && let Some(found) = routes.find(&path)
        {
            let _ = found.trailing_wildcard();
        }
    }
}
