//! How host functions are put into a linker: one table per WASI interface,
//! the function's name in the snapshot on the left, the method that serves it
//! on the right.

use wasmtime_wasi::TrappableError;
use wasmtime_wasi::p2::StreamError;
use wasmtime_wasi::p2::bindings::io::streams;
use wasmtime_wasi_http::p2::bindings::http::types as http;
use wasmtime_wasi_http::p2::{HeaderError, HttpError};

/// Puts functions and resources into one `LinkerInstance`.
///
/// The right-hand side is a path to a function whose first argument is a
/// mutable borrow of what `$view` makes of the store's data. The word before
/// it says what that function returns and what the guest sees of it:
///
/// | word | returns | the guest sees |
/// |---|---|---|
/// | `value` | `wasmtime::Result<V>` | `V` |
/// | `unit` | `wasmtime::Result<()>` | nothing |
/// | `outcome` | `Result<V, E>`, `E` an error of today's host | `result<V, code of E>` |
/// | `resource` | `wasmtime::Result<()>` | a resource; the function drops it |
///
/// `async_` before the word stands for an async function. Must be used where
/// `T`, the type of the store's data, is in scope.
macro_rules! table {
    ($instance:expr, $view:path, {
        $($name:literal => $word:ident $method:path [$($arg:ident: $type:ty),*];)*
    }) => {
        let mut instance = $instance;
        $($crate::table::entry!($word, instance, $view, $name, $method, ($($arg: $type),*));)*
    };
}

/// One line of a [`table!`].
macro_rules! entry {
    (value, $instance:ident, $view:path, $name:literal, $method:path, ($($arg:ident: $type:ty),*)) => {
        $instance.func_wrap(
            $name,
            |mut store: wasmtime::StoreContextMut<'_, T>, ($($arg,)*): ($($type,)*)| {
                Ok(($method(&mut $view(store.data_mut()), $($arg),*)?,))
            },
        )?
    };
    (unit, $instance:ident, $view:path, $name:literal, $method:path, ($($arg:ident: $type:ty),*)) => {
        $instance.func_wrap(
            $name,
            |mut store: wasmtime::StoreContextMut<'_, T>, ($($arg,)*): ($($type,)*)| {
                $method(&mut $view(store.data_mut()), $($arg),*)
            },
        )?
    };
    (outcome, $instance:ident, $view:path, $name:literal, $method:path, ($($arg:ident: $type:ty),*)) => {
        $instance.func_wrap(
            $name,
            |mut store: wasmtime::StoreContextMut<'_, T>, ($($arg,)*): ($($type,)*)| {
                let view = &mut $view(store.data_mut());
                let result = $method(view, $($arg),*);
                Ok(($crate::table::for_guest(view, result)?,))
            },
        )?
    };
    (async_value, $instance:ident, $view:path, $name:literal, $method:path, ($($arg:ident: $type:ty),*)) => {
        $instance.func_wrap_async(
            $name,
            |mut store: wasmtime::StoreContextMut<'_, T>, ($($arg,)*): ($($type,)*)| {
                Box::new(async move {
                    Ok(($method(&mut $view(store.data_mut()), $($arg),*).await?,))
                })
            },
        )?
    };
    (async_unit, $instance:ident, $view:path, $name:literal, $method:path, ($($arg:ident: $type:ty),*)) => {
        $instance.func_wrap_async(
            $name,
            |mut store: wasmtime::StoreContextMut<'_, T>, ($($arg,)*): ($($type,)*)| {
                Box::new(async move { $method(&mut $view(store.data_mut()), $($arg),*).await })
            },
        )?
    };
    (async_outcome, $instance:ident, $view:path, $name:literal, $method:path, ($($arg:ident: $type:ty),*)) => {
        $instance.func_wrap_async(
            $name,
            |mut store: wasmtime::StoreContextMut<'_, T>, ($($arg,)*): ($($type,)*)| {
                Box::new(async move {
                    let view = &mut $view(store.data_mut());
                    let result = $method(view, $($arg),*).await;
                    Ok(($crate::table::for_guest(view, result)?,))
                })
            },
        )?
    };
    (resource, $instance:ident, $view:path, $name:literal, $method:path, ($arg:ident: $type:ty)) => {
        $instance.resource(
            $name,
            wasmtime::component::ResourceType::host::<$type>(),
            |mut store, $arg| {
                let resource = wasmtime::component::Resource::<$type>::new_own($arg);
                $method(&mut $view(store.data_mut()), resource)
            },
        )?
    };
    (async_resource, $instance:ident, $view:path, $name:literal, $method:path, ($arg:ident: $type:ty)) => {
        $instance.resource_async(
            $name,
            wasmtime::component::ResourceType::host::<$type>(),
            |mut store, $arg| {
                let resource = wasmtime::component::Resource::<$type>::new_own($arg);
                Box::new(async move { $method(&mut $view(store.data_mut()), resource).await })
            },
        )?
    };
}

pub(crate) use {entry, table};

/// An error of today's host: either a code for the guest or a trap.
pub(crate) trait HostError<View> {
    /// What the guest gets.
    type Code;

    /// The guest's code, or the trap.
    fn code(self, view: &mut View) -> wasmtime::Result<Self::Code>;
}

/// Files and sockets.
impl<View, Code> HostError<View> for TrappableError<Code>
where
    Code: std::error::Error + Send + Sync + 'static,
{
    type Code = Code;

    fn code(self, _: &mut View) -> wasmtime::Result<Code> {
        self.downcast()
    }
}

impl<View> HostError<View> for HttpError {
    type Code = http::ErrorCode;

    fn code(self, _: &mut View) -> wasmtime::Result<http::ErrorCode> {
        self.downcast()
    }
}

impl<View> HostError<View> for HeaderError {
    type Code = http::HeaderError;

    fn code(self, _: &mut View) -> wasmtime::Result<http::HeaderError> {
        self.downcast()
    }
}

impl<View: streams::Host> HostError<View> for StreamError {
    type Code = streams::StreamError;

    fn code(self, view: &mut View) -> wasmtime::Result<streams::StreamError> {
        view.convert_stream_error(self)
    }
}

/// The result a guest gets for `result`, which may be a trap.
pub(crate) fn for_guest<View, V, E: HostError<View>>(
    view: &mut View,
    result: Result<V, E>,
) -> wasmtime::Result<Result<V, E::Code>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) => Ok(Err(error.code(view)?)),
    }
}
