// The world that a policy script lives in, made of what the engine offers: what is
// not listed is taken away, what works on long things is replaced by what counts
// its work, and everything that is left is frozen. Run once for each realm, before
// any script; "meter" returns natives that are written in Go.
(function (meter) {
  "use strict";
  const { ownKeys, getPrototypeOf } = Reflect;
  const { defineProperty, getOwnPropertyDescriptor, freeze } = Object;
  const global = globalThis;

  // "as is", or the kind of meter.
  const kept = {
    "Object.prototype": { constructor: "", hasOwnProperty: "", toString: "", valueOf: "" },
    "Object": {
      prototype: "", length: "", name: "", is: "", hasOwn: "",
      keys: "members", values: "members", entries: "members", assign: "members", fromEntries: "from", create: "create",
    },
    "Function.prototype": { call: "", apply: "apply", length: "", name: "" },
    "Array.prototype": {
      constructor: "", length: "", at: "", push: "", pop: "", keys: "", values: "", entries: "",
      every: "list", fill: "list", filter: "list", find: "list", findIndex: "list", findLast: "list", findLastIndex: "list",
      forEach: "list", map: "list", reduce: "list", reduceRight: "list", reverse: "list", shift: "list", slice: "list",
      some: "list", splice: "list", toReversed: "list", toSpliced: "list", unshift: "list", with: "list",
      includes: "search", indexOf: "search", lastIndexOf: "search", concat: "concat", sort: "sort", toSorted: "sort",
      join: "join", toString: "join", flat: "flat", flatMap: "flatMap",
    },
    "Array": { prototype: "", length: "", name: "", isArray: "", of: "", from: "from" },
    "String.prototype": {
      constructor: "", length: "", toString: "", valueOf: "",
      at: "text", charAt: "text", charCodeAt: "text", codePointAt: "text", concat: "text", endsWith: "text", includes: "text",
      indexOf: "text", lastIndexOf: "text", slice: "text", startsWith: "text", substring: "text",
      toLowerCase: "case", toUpperCase: "case", trim: "text", trimEnd: "text", trimStart: "text",
      padEnd: "pad", padStart: "pad", repeat: "repeat", replace: "replace", replaceAll: "replace", split: "split",
    },
    "String": { prototype: "", length: "", name: "", fromCharCode: "", fromCodePoint: "" },
    "Number.prototype": { constructor: "", toString: "", toFixed: "", toPrecision: "", toExponential: "", valueOf: "" },
    "Number": {
      prototype: "", length: "", name: "", EPSILON: "", MAX_SAFE_INTEGER: "", MIN_SAFE_INTEGER: "", MIN_VALUE: "", MAX_VALUE: "",
      NaN: "", NEGATIVE_INFINITY: "", POSITIVE_INFINITY: "", isFinite: "", isInteger: "", isNaN: "", isSafeInteger: "",
      parseFloat: "argument", parseInt: "argument",
    },
    "Boolean.prototype": { constructor: "", toString: "", valueOf: "" },
    "Boolean": { prototype: "", length: "", name: "" },
    "BigInt.prototype": { constructor: "", toString: "", valueOf: "" },
    "BigInt": { prototype: "", length: "", name: "" },
    "Map.prototype": {
      constructor: "", size: "", clear: "", keys: "", values: "", entries: "",
      get: "argument", has: "argument", set: "argument", delete: "argument", forEach: "collection",
    },
    "Map": { prototype: "", length: "", name: "" },
    "Set.prototype": {
      constructor: "", size: "", clear: "", keys: "", values: "", entries: "",
      add: "argument", has: "argument", delete: "argument", forEach: "collection",
    },
    "Set": { prototype: "", length: "", name: "" },
    "Math": {
      E: "", LN10: "", LN2: "", LOG10E: "", LOG2E: "", PI: "", SQRT1_2: "", SQRT2: "",
      abs: "", ceil: "", clz32: "", floor: "", fround: "", imul: "", max: "", min: "", round: "", sign: "", sqrt: "", trunc: "",
    },
    "JSON": { parse: "parse", stringify: "stringify" },
    "Error.prototype": { constructor: "", message: "", name: "", toString: "" },
    "Error": { prototype: "", length: "", name: "" },
  };
  const globals = [
    "Object", "Array", "String", "Number", "Boolean", "BigInt", "Map", "Set", "Math", "JSON", "Error", "TypeError", "RangeError",
    "NaN", "Infinity", "undefined", "isNaN", "isFinite", "parseInt", "parseFloat",
  ];

  // What can be reached from the things that a script can make, whether or not it has a name.
  const errors = [EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError, AggregateError];
  const reached = [
    global, {}, [], function () {}, () => 0, "", 0, true, BigInt(0), meter,
    [].values(), new Map(), new Map().entries(), new Set(), new Set().values(), ""[Symbol.iterator](), Symbol.iterator, ...errors,
  ];

  const lookup = (path) => path.split(".").reduce((o, name) => o[name], global);
  const set = (o, name, value) => defineProperty(o, name, { value, writable: true, enumerable: false, configurable: true });
  const native = (kind, name, original) => {
    const f = meter(kind, name, original);
    set(f, "name", name);
    return f;
  };

  // Constructors and functions that read what may be long.
  const replace = (name, kind) => {
    const original = global[name];
    const f = native(kind, name, original);
    for (const key of ownKeys(original)) {
      if (key === "length" || key === "name") continue;
      defineProperty(f, key, getOwnPropertyDescriptor(original, key));
    }
    if (original.prototype) set(original.prototype, "constructor", f);
    set(global, name, f);
  };

  for (const path of Object.keys(kept)) {
    const o = lookup(path), list = kept[path];
    for (const key of ownKeys(o)) {
      if (typeof key !== "string") continue;
      if (!Object.hasOwn(list, key)) {
        if (!delete o[key]) throw new Error("cannot take away " + path + "." + key);
      } else if (list[key] !== "") {
        set(o, key, native(list[key], path.replace(".prototype", "") + "." + key, o[key]));
      }
    }
  }
  for (const [path, names, why] of meter("missing")) {
    const o = lookup(path);
    for (const name of names.split(" ")) set(o, name, native("missing", path.replace(".prototype", "") + "." + name, why));
  }
  for (const name of ["String", "Number", "BigInt", "isNaN", "isFinite", "parseInt", "parseFloat"]) replace(name, "argument");
  for (const name of ["Map", "Set"]) replace(name, "new " + name);
  for (const key of ownKeys(global)) {
    if (typeof key === "string" && !globals.includes(key) && !delete global[key]) throw new Error("cannot take away " + key);
  }

  // A frozen member of a prototype could not be a member of anyone's object:
  // these names are left to be assigned.
  const yielding = (o) => {
    for (const key of ownKeys(o)) {
      const d = getOwnPropertyDescriptor(o, key);
      if (typeof key !== "string" || !("value" in d)) continue;
      const value = d.value;
      reached.push(value);
      const get = () => value;
      const put = function (v) {
        if (this === o || (typeof this !== "object" && typeof this !== "function") || this === null) throw new TypeError("cannot change " + key);
        defineProperty(this, key, { value: v, writable: true, enumerable: true, configurable: true });
      };
      reached.push(get, put);
      defineProperty(o, key, { get, set: put, enumerable: false, configurable: false });
    }
  };
  for (const o of [getPrototypeOf({}), ...[Error, ...errors].map((e) => e.prototype)]) yielding(o);

  const seen = new Set();
  while (reached.length > 0) {
    const o = reached.pop();
    if (o === null || o === undefined || seen.has(o)) continue;
    seen.add(o);
    reached.push(getPrototypeOf(Object(o)));
    if (typeof o !== "object" && typeof o !== "function") continue;
    for (const key of ownKeys(o)) {
      const d = getOwnPropertyDescriptor(o, key);
      reached.push(d.value, d.get, d.set);
    }
    freeze(o);
  }
});
