//! `wasi:sockets/ip-name-lookup` of the snapshot: the guest may ask for the
//! addresses of one family only.

#[cfg(test)]
mod tests;

use super::SNAPSHOT;
use crate::table::table;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{
    Host, HostResolveAddressStream, ResolveAddressStream,
};
use wasmtime_wasi::p2::bindings::sockets::network::{
    ErrorCode, IpAddress, IpAddressFamily, Network,
};
use wasmtime_wasi::p2::{DynPollable, SocketResult};
use wasmtime_wasi::sockets::{WasiSocketsCtxView, WasiSocketsView as _};

/// A `resolve-address-stream`.
struct Lookup {
    addresses: Resource<ResolveAddressStream>,
    /// The only family wanted.
    family: Option<IpAddressFamily>,
    /// Whether there was an address of that family.
    found: bool,
}

pub(super) fn add_to_linker<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    table!(SNAPSHOT.instance(linker, "wasi:sockets/ip-name-lookup")?, T::sockets, {
        "resolve-addresses" => outcome resolve_addresses[
            network: Resource<Network>,
            name: String,
            family: Option<IpAddressFamily>,
            unavailable: bool
        ];
        "resolve-address-stream" => resource drop[lookup: Lookup];
        "[method]resolve-address-stream.resolve-next-address" => outcome next_address[
            lookup: Resource<Lookup>
        ];
        "[method]resolve-address-stream.subscribe" => value subscribe[lookup: Resource<Lookup>];
    });
    Ok(())
}

/// Whether to include addresses that cannot be reached at the moment is up to
/// the host's resolver.
fn resolve_addresses(
    view: &mut WasiSocketsCtxView<'_>,
    network: Resource<Network>,
    name: String,
    family: Option<IpAddressFamily>,
    _unavailable: bool,
) -> SocketResult<Resource<Lookup>> {
    let addresses = view.resolve_addresses(network, name)?;
    Ok(view.table.push(Lookup { addresses, family, found: false })?)
}

fn next_address(
    view: &mut WasiSocketsCtxView<'_>,
    lookup: Resource<Lookup>,
) -> SocketResult<Option<IpAddress>> {
    let Lookup { addresses, family, found } = view.table.get(&lookup)?;
    let (addresses, family, found) = (addresses.rep(), *family, *found);
    while let Some(address) = view.resolve_next_address(Resource::new_borrow(addresses))? {
        if family.is_none_or(|family| family == family_of(&address)) {
            view.table.get_mut(&lookup)?.found = true;
            return Ok(Some(address));
        }
    }
    if found { Ok(None) } else { Err(ErrorCode::NameUnresolvable.into()) }
}

fn family_of(address: &IpAddress) -> IpAddressFamily {
    match address {
        IpAddress::Ipv4(_) => IpAddressFamily::Ipv4,
        IpAddress::Ipv6(_) => IpAddressFamily::Ipv6,
    }
}

fn subscribe(
    view: &mut WasiSocketsCtxView<'_>,
    lookup: Resource<Lookup>,
) -> wasmtime::Result<Resource<DynPollable>> {
    let addresses = view.table.get(&lookup)?.addresses.rep();
    HostResolveAddressStream::subscribe(view, Resource::new_borrow(addresses))
}

fn drop(view: &mut WasiSocketsCtxView<'_>, lookup: Resource<Lookup>) -> wasmtime::Result<()> {
    let Lookup { addresses, .. } = view.table.delete(lookup)?;
    HostResolveAddressStream::drop(view, addresses)
}
