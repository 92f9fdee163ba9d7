"""What the schema engine's module imports from JavaScript, by wasm-bindgen's names for the pinned version.

The meaning of each is read off the glue that the package brings; the hash in a name moves with it.
"""

import os
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from shared.prisma import javascript as js
from shared.prisma.wasm import UNDEFINED, Instance, Panicked, Undefined

_CLOSURES = "wasm_bindgen_353b96ef71864b03___c"
_CALL_1 = f"{_CLOSURES}onvert__closures_____invoke___wasm_bindgen_353b96ef71864b03___JsValue_____"
_CALL_2 = (
    f"{_CLOSURES}onvert__closures_____invoke___wasm_bindgen_353b96ef71864b03___JsValue__"
    "wasm_bindgen_353b96ef71864b03___JsValue_____"
)
_DROP = (
    f"{_CLOSURES}losure__destroy___dyn_core_9b3796e30d99ddb7___ops__function__FnMut__"
    "wasm_bindgen_353b96ef71864b03___JsValue____Output_______"
)
Imports = Mapping[str, Callable[..., Any]]


@dataclass(frozen=True)
class EngineHandle:
    """The module's own `SchemaEngine`, by its address."""

    address: int


class _Closure:
    """A function of the module; it lives until the module lets go of it and no call is under way."""

    def __init__(self, instance: Instance, a: int, b: int) -> None:
        self._instance, self._a, self._b = instance, a, b
        self._uses = 1

    def __call__(self, *arguments: Any) -> None:
        self._uses += 1
        try:
            self._instance.call(_CALL_1, self._a, self._b, arguments[0] if arguments else UNDEFINED)
        finally:
            self.let_go()

    def let_go(self) -> None:
        self._uses -= 1
        if self._uses == 0:
            self._instance.call(_DROP, self._a, self._b)


@dataclass(frozen=True)
class _View:
    """A `Uint8Array` that lies in the module's memory."""

    instance: Instance
    at: int
    length: int

    def fill(self, data: bytes) -> None:
        self.instance.poke(self.at, data)

    def __bytes__(self) -> bytes:
        return self.instance.read(self.at, self.length)


def imports(instance: Instance, microtasks: js.Microtasks, timers: js.Timers) -> Imports:
    """Everything that the engine's module imports."""
    return {
        **_values(instance),
        **_memory(instance),
        **_properties(instance),
        **_calls(instance, microtasks, timers),
        **_surroundings(instance),
    }


def _flag(test: Callable[..., Any]) -> Callable[..., int]:
    return lambda *arguments: int(bool(test(*arguments)))


def _values(instance: Instance) -> Imports:
    """What kind of value something is, and new ones."""
    return {
        "__wbg_Error_e83987f665cf5504": lambda at, length: js.Error(instance.text(at, length)),
        "__wbg_new_a7442b4b19c1a356": lambda at, length: js.Error(instance.text(at, length)),
        "__wbg_Number_bb48ca12f395cd08": js.number,
        "__wbg___wbindgen_boolean_get_6d5a1ee65bab5f68": lambda value: (
            int(value) if isinstance(value, bool) else 0xFFFFFF
        ),
        "__wbg___wbindgen_in_bb933bd9e1b3bc0f": _flag(lambda key, owner: js.has(owner, key)),
        "__wbg___wbindgen_is_bigint_cb320707dcd35f0b": _flag(lambda value: isinstance(value, js.BigInt)),
        "__wbg___wbindgen_is_function_ee8a6c5833c90377": _flag(callable),
        "__wbg___wbindgen_is_object_c818261d21f283a4": _flag(js.is_object),
        "__wbg___wbindgen_is_string_fbb76cb2940daafd": _flag(lambda value: isinstance(value, str)),
        "__wbg___wbindgen_is_undefined_2d472862bd29a478": _flag(lambda value: value is UNDEFINED),
        "__wbg___wbindgen_jsval_eq_6b13ab83478b1c50": _flag(js.same),
        "__wbg___wbindgen_jsval_loose_eq_b664b38a2f582147": _flag(_loosely_same),
        "__wbg_instanceof_ArrayBuffer_70beb1189ca63b38": _flag(lambda value: False),
        "__wbg_instanceof_Map_8579b5e2ab5437c7": _flag(lambda value: isinstance(value, js.Map)),
        "__wbg_instanceof_Promise_001fdd42afa1b7ef": _flag(lambda value: isinstance(value, js.Promise)),
        "__wbg_instanceof_Uint8Array_20c8e73002f7af98": _flag(
            lambda value: isinstance(value, bytearray | _View)
        ),
        "__wbg_isArray_96e0af9891d0945d": _flag(lambda value: isinstance(value, list)),
        "__wbg_isSafeInteger_d216eda7911dde36": _flag(
            lambda value: js.is_number(value) and float(value).is_integer() and abs(value) < 2**53
        ),
        "__wbg_iterator_e5822695327a3c39": lambda: js.SYMBOL_ITERATOR,
        "__wbg_new_1acc0b6eea89d040": dict,
        "__wbg_new_68651c719dcda04e": js.Map,
        "__wbg_new_e17d9f43105b08be": list,
        "__wbg_new_23fa8b12a239f036": lambda at, length, flags_at, flags_length: js.RegExp(
            instance.text(at, length), instance.text(flags_at, flags_length)
        ),
        "__wbg_valueOf_9eee4828c11458ca": lambda value: value,
        "__wbindgen_cast_2241b6af4c4b2941": instance.text,
        "__wbindgen_cast_4625c577ab2ec9ee": lambda value: js.BigInt(value & (2**64 - 1)),
        "__wbindgen_cast_9ae0607507abb057": js.BigInt,
        "__wbindgen_cast_d6cd19b81560fd6e": lambda value: value,
        "__wbg_schemaengine_new": EngineHandle,
    }


def _loosely_same(one: Any, other: Any) -> bool:
    nothing = (None, UNDEFINED)
    return js.same(one, other) or (one in nothing and other in nothing)


def _memory(instance: Instance) -> Imports:
    """Values handed over through the module's memory: 32-bit, little-endian."""

    def string_into(at: int, text: str | None) -> None:
        where = instance.write(text.encode()) if text is not None else (0, 0)
        instance.poke(at, struct.pack("<II", *where))

    def number_into(at: int, value: Any) -> None:
        known = js.is_number(value)
        instance.poke(at, struct.pack("<i4xd", known, value if known else 0.0))

    def bigint_into(at: int, value: Any) -> None:
        known = isinstance(value, js.BigInt)
        instance.poke(at, struct.pack("<i4xQ", known, (value if known else 0) & (2**64 - 1)))

    def fill(_crypto: Any, target: Any) -> None:
        if isinstance(target, _View):
            target.fill(os.urandom(target.length))
        else:
            target[:] = os.urandom(len(target))

    return {
        "__wbg_String_8f0eb39a4a4c2f66": lambda at, value: string_into(at, js.string(value)),
        "__wbg___wbindgen_debug_string_df47ffb5e35e6763": lambda at, value: string_into(at, repr(value)),
        "__wbg___wbindgen_string_get_e4f06c90489ad01b": lambda at, value: string_into(
            at, value if isinstance(value, str) else None
        ),
        "__wbg___wbindgen_number_get_a20bf9b85341449d": number_into,
        "__wbg___wbindgen_bigint_get_as_i64_f3ebc5a755000afd": bigint_into,
        "__wbg_new_5a79be3ab53b8aa5": lambda value: bytearray(bytes(value)),
        "__wbg_new_from_slice_92f4d78ca282a2d2": lambda at, length: bytearray(instance.read(at, length)),
        "__wbg_new_with_length_01aa0dc35aa13543": bytearray,
        "__wbg_prototypesetcall_2a6620b6922694b2": lambda at, length, source: instance.poke(
            at, bytes(source)[:length]
        ),
        "__wbg_subarray_480600f3d6a9f26c": lambda value, start, end: (
            _View(instance, value.at + start, end - start) if isinstance(value, _View) else value[start:end]
        ),
        "__wbindgen_cast_cb9088102bce6b30": lambda at, length: _View(instance, at, length),
        "__wbg_getRandomValues_f6a868620c8bab49": fill,
        "__wbg_randomFillSync_d3c85af7e31cf1f8": fill,
    }


def _properties(instance: Instance) -> Imports:
    """Reading and writing objects, arrays and maps."""

    def put(owner: Any, key: Any, value: Any) -> Any:
        js.put(owner, key, value)
        return owner

    def assign(owner: Any, key: Any, value: Any) -> int:
        js.put(owner, key, value)
        return 1

    def push(owner: list[Any], value: Any) -> int:
        owner.append(value)
        return len(owner)

    def execute(pattern: js.RegExp, at: int, length: int) -> int:
        found = pattern.exec(instance.text(at, length))
        return 0 if found is None else instance.put(found)

    def name(error: js.Error, at: int, length: int) -> None:
        error.properties["name"] = instance.text(at, length)

    def field(key: str) -> Callable[[Any], Any]:
        return lambda owner: js.get(owner, key)

    return {
        "__wbg_entries_e171b586f8f6bdbf": lambda owner: [[*pair] for pair in owner.items()],
        "__wbg_exec_fdeec61d47617356": execute,
        "__wbg_get_7bed016f185add81": js.get,
        "__wbg_get_ece95cf6585650d9": js.get,
        "__wbg_get_efcb449f58ec27c2": js.get,
        "__wbg_get_with_ref_key_1dc361bd10053bfe": js.get,
        "__wbg_has_787fafc980c3ccdb": _flag(js.has),
        "__wbg_length_69bca3cb64fc8748": lambda value: len(bytes(value)),
        "__wbg_length_cdd215e10d9dd507": len,
        "__wbg_push_df81a39d04db858c": push,
        "__wbg_set_3f1d0b984ed272ed": js.put,
        "__wbg_set_907fb406c34a251d": put,
        "__wbg_set_c213c871859d6500": js.put,
        "__wbg_set_c2abbebe8b9ebee1": assign,
        "__wbg_set_name_d94846a29e626702": name,
        "__wbg_done_2042aa2670fb1db1": _flag(lambda step: step["done"]),
        "__wbg_value_692627309814bb8c": lambda step: step["value"],
        "__wbg_next_020810e0ae8ebcb0": lambda iterator: iterator.next(),
        "__wbg_next_2c826fe5dfec6b6a": field("next"),
        "__wbg_crypto_805be4ce92f1e370": field("crypto"),
        "__wbg_msCrypto_2ac4d17c4748234a": field("msCrypto"),
        "__wbg_node_ecc8306b9857f33d": field("node"),
        "__wbg_process_5cff2739921be718": field("process"),
        "__wbg_versions_a8e5a362e1f16442": field("versions"),
        "__wbg_queueMicrotask_5a8a9131f3f0b37b": field("queueMicrotask"),
    }


def _calls(instance: Instance, microtasks: js.Microtasks, timers: js.Timers) -> Imports:
    """Functions and promises."""

    def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            try:
                return function(*arguments)
            except Panicked:
                raise
            except Exception as error:
                instance.call("__wbindgen_exn_store", instance.put(error))
                return UNDEFINED

        return call

    def new_promise(a: int, b: int) -> js.Promise:
        promise = js.Promise(microtasks)
        instance.call(_CALL_2, a, b, promise.resolve, promise.reject)
        return promise

    def resolved(value: Any) -> js.Promise:
        if isinstance(value, js.Promise):
            return value
        promise = js.Promise(microtasks)
        promise.resolve(value)
        return promise

    return {
        "__wbg__wbg_cb_unref_2454a539ea5790d9": lambda closure: closure.let_go(),
        "__wbindgen_cast_a9993887db3ced61": lambda a, b: _Closure(instance, a, b),
        "__wbg_call_525440f72fbfc0ea": guarded(lambda function, _this, argument: function(argument)),
        "__wbg_call_e762c39fa8ea36bf": guarded(lambda function, _this: function()),
        "__wbg_new_3c3d849046688a66": new_promise,
        "__wbg_resolve_caf97c30b83f7053": resolved,
        "__wbg_then_4f46f6544e6b4a28": lambda promise, done: promise.then(done),
        "__wbg_then_70d05cf780a18d77": lambda promise, done, failed: promise.then(done, failed),
        "__wbg_queueMicrotask_6d79674585219521": microtasks.add,
        "__wbg_setTimeout_5d6a1d4fc51ea450": timers.add,
    }


def _surroundings(instance: Instance) -> Imports:
    """The global object, the clock, and what a panic says."""
    here = {"crypto": {}, "queueMicrotask": UNDEFINED}

    def panic(at: int, length: int) -> None:
        raise Panicked(instance.text(at, length))

    def now() -> float:
        return time.time() * 1000

    def absent(*_: Any) -> Undefined:
        return UNDEFINED

    return {
        "__wbg___wbindgen_throw_b855445ff6a94295": panic,
        "__wbg_set_message_f18c00fbf3b3e80e": panic,
        "__wbg_static_accessor_GLOBAL_89e1d9ac6a1b250e": lambda: 0,
        "__wbg_static_accessor_GLOBAL_THIS_8b530f326a9e48ac": lambda: instance.put(here),
        "__wbg_static_accessor_SELF_6fdf4b64710cc91b": lambda: 0,
        "__wbg_static_accessor_WINDOW_b45bfc5a37f6cfa2": lambda: 0,
        "__wbg_new_0_f9740686d739025c": now,
        "__wbg_getTime_14776bfb48a1bff9": lambda date: date,
        "__wbg_now_793306c526e2e3b6": now,
        "__wbg_now_7fd00a794a07d388": lambda clock: now(),
        "__wbg_new_no_args_ee98eee5275000a4": absent,
        "__wbg_require_0c566c6f2eef6c79": absent,
    }
