use super::*;
use crate::tests::State;
use wasmtime_wasi::p2::bindings::io::poll::HostPollable;
use wasmtime_wasi::p2::bindings::sockets::instance_network::Host as _;

/// All addresses of `localhost` in one family.
async fn localhost(family: IpAddressFamily) -> Result<Vec<IpAddress>, ErrorCode> {
    let mut state = State::with(|wasi| {
        wasi.allow_ip_name_lookup(true);
    });
    let view = &mut state.sockets();
    let network = view.instance_network().unwrap();
    let lookup =
        resolve_addresses(view, network, "localhost".to_owned(), Some(family), true).unwrap();
    let borrowed = || Resource::new_borrow(lookup.rep());
    let pollable = subscribe(view, borrowed()).unwrap();
    HostPollable::block(view.table, Resource::new_borrow(pollable.rep())).await.unwrap();
    HostPollable::drop(view.table, pollable).unwrap();

    let mut addresses = Vec::new();
    let outcome = loop {
        match next_address(view, borrowed()) {
            Ok(Some(address)) => addresses.push(address),
            Ok(None) => break Ok(addresses),
            Err(error) => break Err(error.downcast().unwrap()),
        }
    };
    super::drop(view, lookup).unwrap();
    outcome
}

#[tokio::test]
async fn only_addresses_of_the_wanted_family_are_given() {
    let mut found = 0;
    for family in [IpAddressFamily::Ipv4, IpAddressFamily::Ipv6] {
        match localhost(family).await {
            Ok(addresses) => {
                assert!(!addresses.is_empty(), "a name without addresses is an error");
                assert!(addresses.iter().all(|address| family_of(address) == family));
                found += addresses.len();
            }
            // A machine may have only one of the two.
            Err(error) => assert_eq!(error, ErrorCode::NameUnresolvable),
        }
    }
    assert!(found > 0);
}

#[test]
fn a_guest_that_may_not_look_up_names_is_told_at_once_or_later() {
    let mut state = State::closed();
    let view = &mut state.sockets();
    let network = view.instance_network().unwrap();
    let outcome = resolve_addresses(view, network, "localhost".to_owned(), None, false)
        .and_then(|lookup| next_address(view, lookup));
    let error = outcome.unwrap_err().downcast().unwrap();
    assert_eq!(error, ErrorCode::PermanentResolverFailure);
}
