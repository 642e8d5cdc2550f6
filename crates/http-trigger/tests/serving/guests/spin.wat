;; A guest of Spin 1 whose path says what it does, by its first letter; what
;; follows is a variable's name:
;;
;;   /cNAME  the value by fermyon:spin/config
;;   /vNAME  the value by fermyon:spin/variables
;;   /wNAME  the value by wasi:config/store
;;   /...    anything else: the request body
;;
;; A variable without a value is answered with 404 and the text of the error.
(module
  (import "fermyon:spin/config" "get-config" (func $config (param i32 i32 i32)))
  (import "fermyon:spin/variables@2.0.0" "get" (func $variable (param i32 i32 i32)))
  (import "wasi:config/store@0.2.0-draft-2024-09-27" "get" (func $store (param i32 i32 i32)))

  (memory (export "memory") 1)
  (global $free (mut i32) (i32.const 4096))
  (data (i32.const 1024) "x-a")
  (data (i32.const 1032) "b")
  ;; one header: name and value
  (data (i32.const 1040) "\00\04\00\00\03\00\00\00\08\04\00\00\01\00\00\00")

  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get 3)))
    (local.get $at))

  ;; status @512, headers @516, body @528
  (func $answer (param $status i32) (param $at i32) (param $length i32) (result i32)
    (i32.store16 (i32.const 512) (local.get $status))
    (i32.store8 (i32.const 516) (i32.const 1))
    (i32.store (i32.const 520) (i32.const 1040))
    (i32.store (i32.const 524) (i32.const 1))
    (i32.store8 (i32.const 528) (i32.const 1))
    (i32.store (i32.const 532) (local.get $at))
    (i32.store (i32.const 536) (local.get $length))
    (i32.const 512))

  (func (export "fermyon:spin/inbound-http#handle-request")
    (param $method i32) (param $uri i32) (param $uri-length i32)
    (param $headers i32) (param $headers-length i32) (param $params i32) (param $params-length i32)
    (param $has-body i32) (param $body i32) (param $body-length i32) (result i32)
    (local $what i32) (local $name i32) (local $length i32)
    (local.set $what (i32.load8_u offset=1 (local.get $uri)))
    (local.set $name (i32.add (local.get $uri) (i32.const 2)))
    (local.set $length (i32.sub (local.get $uri-length) (i32.const 2)))
    (if (i32.eq (local.get $what) (i32.const 0x77))
      (then
        (call $store (local.get $name) (local.get $length) (i32.const 0))
        ;; ok(some(text))
        (if (i32.eqz (i32.load8_u (i32.const 4)))
          (then (return (call $answer (i32.const 404) (i32.const 0) (i32.const 0)))))
        (return
          (call $answer (i32.const 200) (i32.load (i32.const 8)) (i32.load (i32.const 12))))))
    (if (i32.eq (local.get $what) (i32.const 0x63))
      (then (call $config (local.get $name) (local.get $length) (i32.const 0)))
      (else
        (if (i32.eq (local.get $what) (i32.const 0x76))
          (then (call $variable (local.get $name) (local.get $length) (i32.const 0)))
          (else
            (return
              (call $answer (i32.const 200) (local.get $body) (local.get $body-length)))))))
    (if (i32.load8_u (i32.const 0))
      (then
        (return
          (call $answer (i32.const 404) (i32.load (i32.const 8)) (i32.load (i32.const 12))))))
    (call $answer (i32.const 200) (i32.load (i32.const 4)) (i32.load (i32.const 8)))))
