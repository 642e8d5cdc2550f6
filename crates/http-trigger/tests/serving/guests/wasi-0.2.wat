;; A guest whose path says what it does, by its first letter:
;;
;;   /echo     sends the request body back as it comes
;;   /hello    "hello", whole
;;   /loop     computes without end
;;   /memory   asks for 512 MiB and traps if it gets none
;;   /nothing  returns without a response
;;   /print    prints "last words" without a line break and traps
;;   /q...     requests /hello of the authority after the `q`, and answers with its
;;             status; 599 if that fails
;;   /stream   sends 64 KiB pieces without end
;;   /trap     traps before its response
;;   /zero     begins its response, sends one piece and traps
(module
  (import "wasi:cli/stdout@0.2.0" "get-stdout" (func $get-stdout (result i32)))
  (import "wasi:http/types@0.2.0" "[constructor]fields" (func $fields (result i32)))
  (import "wasi:http/types@0.2.0" "[method]incoming-request.path-with-query"
    (func $path (param i32 i32)))
  (import "wasi:http/types@0.2.0" "[method]incoming-request.consume"
    (func $consume (param i32 i32)))
  (import "wasi:http/types@0.2.0" "[method]incoming-body.stream"
    (func $body-stream (param i32 i32)))
  (import "wasi:http/types@0.2.0" "[constructor]outgoing-response"
    (func $response (param i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-response.set-status-code"
    (func $set-status (param i32 i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-response.body"
    (func $response-body (param i32 i32)))
  (import "wasi:http/types@0.2.0" "[static]response-outparam.set"
    (func $set (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-body.write"
    (func $body-write (param i32 i32)))
  (import "wasi:http/types@0.2.0" "[static]outgoing-body.finish"
    (func $finish (param i32 i32 i32 i32)))
  (import "wasi:http/types@0.2.0" "[constructor]outgoing-request"
    (func $request (param i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-path-with-query"
    (func $set-path (param i32 i32 i32 i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-scheme"
    (func $set-scheme (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-authority"
    (func $set-authority (param i32 i32 i32 i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]future-incoming-response.subscribe"
    (func $subscribe (param i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]future-incoming-response.get"
    (func $get (param i32 i32)))
  (import "wasi:http/types@0.2.0" "[method]incoming-response.status"
    (func $status (param i32) (result i32)))
  (import "wasi:http/outgoing-handler@0.2.0" "handle" (func $send (param i32 i32 i32 i32)))
  (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
  (import "wasi:io/streams@0.2.0" "[method]input-stream.blocking-read"
    (func $read (param i32 i64 i32)))
  (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush"
    (func $write (param i32 i32 i32 i32)))
  (import "wasi:io/streams@0.2.0" "[resource-drop]output-stream"
    (func $drop-output (param i32)))

  ;; 0..1024 results, 1024.. texts, 4096.. buffers, reset for each allocation
  (memory (export "memory") 4)
  (data (i32.const 1024) "hello")
  (data (i32.const 1040) "last words")
  (data (i32.const 1056) "/hello")

  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (i32.const 65536))

  ;; Begins a response with this status; gives its body.
  (func $respond (param $out i32) (param $status i32) (result i32)
    (local $response i32)
    (local.set $response (call $response (call $fields)))
    (drop (call $set-status (local.get $response) (local.get $status)))
    (call $response-body (local.get $response) (i32.const 0))
    (call $set (local.get $out) (i32.const 0) (local.get $response)
      (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
    (i32.load (i32.const 4)))

  ;; The stream of a body.
  (func $writer (param $body i32) (result i32)
    (call $body-write (local.get $body) (i32.const 0))
    (i32.load (i32.const 4)))

  ;; Writes; 0 if the stream is closed.
  (func $put (param $stream i32) (param $at i32) (param $length i32) (result i32)
    (local $piece i32)
    (loop $more
      (if (i32.eqz (local.get $length)) (then (return (i32.const 1))))
      (local.set $piece (select (i32.const 4096) (local.get $length)
        (i32.gt_u (local.get $length) (i32.const 4096))))
      (call $write (local.get $stream) (local.get $at) (local.get $piece) (i32.const 0))
      (if (i32.load8_u (i32.const 0)) (then (return (i32.const 0))))
      (local.set $at (i32.add (local.get $at) (local.get $piece)))
      (local.set $length (i32.sub (local.get $length) (local.get $piece)))
      (br $more))
    (unreachable))

  (func $end (param $body i32) (param $stream i32)
    (call $drop-output (local.get $stream))
    (call $finish (local.get $body) (i32.const 0) (i32.const 0) (i32.const 0)))

  (func $echo (param $request i32) (param $out i32)
    (local $input i32) (local $body i32) (local $output i32)
    (call $consume (local.get $request) (i32.const 0))
    (call $body-stream (i32.load (i32.const 4)) (i32.const 0))
    (local.set $input (i32.load (i32.const 4)))
    (local.set $body (call $respond (local.get $out) (i32.const 200)))
    (local.set $output (call $writer (local.get $body)))
    (block $closed
      (loop $more
        (call $read (local.get $input) (i64.const 65536) (i32.const 16))
        (br_if $closed (i32.load8_u (i32.const 16)))
        (br_if $more
          (call $put (local.get $output) (i32.load (i32.const 20)) (i32.load (i32.const 24))))
        (unreachable)))
    (call $end (local.get $body) (local.get $output)))

  (func $hello (param $out i32)
    (local $body i32) (local $output i32)
    (local.set $body (call $respond (local.get $out) (i32.const 200)))
    (local.set $output (call $writer (local.get $body)))
    (drop (call $put (local.get $output) (i32.const 1024) (i32.const 5)))
    (call $end (local.get $body) (local.get $output)))

  (func $stream-on (param $out i32)
    (local $output i32)
    (local.set $output (call $writer (call $respond (local.get $out) (i32.const 200))))
    (loop $more
      (br_if $more (call $put (local.get $output) (i32.const 65536) (i32.const 65536)))))

  (func $ask (param $authority i32) (param $length i32) (result i32)
    (local $request i32) (local $future i32)
    (local.set $request (call $request (call $fields)))
    (drop (call $set-path (local.get $request) (i32.const 1) (i32.const 1056) (i32.const 6)))
    (drop (call $set-scheme (local.get $request) (i32.const 1) (i32.const 0) (i32.const 0)
      (i32.const 0)))
    (drop (call $set-authority (local.get $request) (i32.const 1) (local.get $authority)
      (local.get $length)))
    (call $send (local.get $request) (i32.const 0) (i32.const 0) (i32.const 128))
    (if (i32.load8_u (i32.const 128)) (then (return (i32.const 599))))
    (local.set $future (i32.load (i32.const 136)))
    (call $block (call $subscribe (local.get $future)))
    (call $get (local.get $future) (i32.const 128))
    ;; some(ok(ok(response)))
    (if (i32.load8_u (i32.const 144)) (then (return (i32.const 599))))
    (call $status (i32.load (i32.const 152))))

  (func (export "wasi:http/incoming-handler@0.2.0#handle") (param $request i32) (param $out i32)
    (local $what i32) (local $at i32) (local $output i32)
    (call $path (local.get $request) (i32.const 0))
    (local.set $at (i32.load (i32.const 4)))
    (local.set $what (i32.load8_u offset=1 (local.get $at)))
    (if (i32.eq (local.get $what) (i32.const 0x65))
      (then (return (call $echo (local.get $request) (local.get $out)))))
    (if (i32.eq (local.get $what) (i32.const 0x68))
      (then (return (call $hello (local.get $out)))))
    (if (i32.eq (local.get $what) (i32.const 0x6c))
      (then (loop $forever (br $forever))))
    (if (i32.eq (local.get $what) (i32.const 0x6d))
      (then
        (if (i32.eq (memory.grow (i32.const 8192)) (i32.const -1)) (then (unreachable)))
        (return (call $hello (local.get $out)))))
    (if (i32.eq (local.get $what) (i32.const 0x6e)) (then (return)))
    (if (i32.eq (local.get $what) (i32.const 0x70))
      (then
        (drop (call $put (call $get-stdout) (i32.const 1040) (i32.const 10)))
        (unreachable)))
    (if (i32.eq (local.get $what) (i32.const 0x71))
      (then
        (drop (call $respond (local.get $out)
          (call $ask (i32.add (local.get $at) (i32.const 2))
            (i32.sub (i32.load (i32.const 8)) (i32.const 2)))))
        (return)))
    (if (i32.eq (local.get $what) (i32.const 0x73))
      (then (return (call $stream-on (local.get $out)))))
    (if (i32.eq (local.get $what) (i32.const 0x7a))
      (then
        (local.set $output (call $writer (call $respond (local.get $out) (i32.const 200))))
        (drop (call $put (local.get $output) (i32.const 1024) (i32.const 5)))))
    (unreachable)))
