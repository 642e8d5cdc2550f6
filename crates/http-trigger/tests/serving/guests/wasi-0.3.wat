;; A guest whose path says what it does, by its first letter:
;;
;;   /count  answers with the status 200 + how many requests its instance had
;;   /loop   computes without end
;;   /trap   traps
(module
  (import "wasi:http/types@0.3.0" "[constructor]fields" (func $fields (result i32)))
  (import "wasi:http/types@0.3.0" "[method]request.get-path-with-query"
    (func $path (param i32 i32)))
  (import "wasi:http/types@0.3.0" "[static]response.new"
    (func $response (param i32 i32 i32 i32 i32)))
  (import "wasi:http/types@0.3.0" "[method]response.set-status-code"
    (func $set-status (param i32 i32) (result i32)))
  (import "wasi:http/types@0.3.0" "[future-new-1][static]response.new"
    (func $trailers (result i64)))
  (import "wasi:http/types@0.3.0" "[async-lower][future-write-1][static]response.new"
    (func $write-trailers (param i32 i32) (result i32)))

  (memory (export "memory") 2)
  (global $requests (mut i32) (i32.const 0))

  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (i32.const 65536))

  (func (export "wasi:http/handler@0.3.0#handle") (param $request i32) (result i32)
    (local $what i32) (local $trailers i64)
    (call $path (local.get $request) (i32.const 0))
    (local.set $what (i32.load8_u offset=1 (i32.load (i32.const 4))))
    (if (i32.eq (local.get $what) (i32.const 0x6c))
      (then (loop $forever (br $forever))))
    (if (i32.eq (local.get $what) (i32.const 0x74)) (then (unreachable)))
    (global.set $requests (i32.add (global.get $requests) (i32.const 1)))
    (local.set $trailers (call $trailers))
    (call $response (call $fields) (i32.const 0) (i32.const 0)
      (i32.wrap_i64 (local.get $trailers)) (i32.const 32))
    (drop (call $set-status (i32.load (i32.const 32))
      (i32.add (i32.const 200) (global.get $requests))))
    ;; ok(none), from memory that stays zero
    (drop (call $write-trailers
      (i32.wrap_i64 (i64.shr_u (local.get $trailers) (i64.const 32)))
      (i32.const 4096)))
    ;; ok(response)
    (i32.store8 (i32.const 256) (i32.const 0))
    (i32.store (i32.const 264) (i32.load (i32.const 32)))
    (i32.const 256)))
