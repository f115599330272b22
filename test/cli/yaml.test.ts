import fc from "fast-check";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { noted, toYaml, type Yaml } from "../../src/cli/yaml.ts";

test("what is written is read as the same, by readers of YAML 1.1 and 1.2", () => {
	const word = fc.oneof(
		fc.string({ unit: "binary" }),
		fc.constantFrom(
			"yes",
			"null",
			"500m",
			"512Mi",
			"1e3",
			"0x1f",
			"-c",
			"- a",
			"a: b",
			"a #b",
			"<tag>",
			"",
			"1:20",
			"~",
		),
	);
	const value = fc.letrec<{ value: unknown }>((tie) => ({
		value: fc.oneof(
			{ depthSize: "small" },
			word,
			fc.integer(),
			fc.boolean(),
			fc.array(word, { minLength: 1 }),
			fc.array(fc.dictionary(word, word, { minKeys: 1 }), { minLength: 1, maxLength: 3 }),
			fc.dictionary(word, tie("value"), { minKeys: 1, maxKeys: 4, noNullPrototype: true }),
		),
	})).value;
	fc.assert(
		fc.property(value, (given) => {
			for (const version of ["1.1", "1.2"] as const) expect(parse(toYaml(given as Yaml), { version })).toEqual(given);
		}),
	);
});

test("comments stand above what they are about, also in lists", () => {
	const text = toYaml({
		a: noted("of a", { b: 1 }),
		list: [{ name: noted("of the item", "x"), more: { c: ["d", "e"] } }],
		left: undefined,
	});
	expect(text).toBe(
		["# of a", "a:", "  b: 1", "list:", "  # of the item", "  - name: x", "    more:", "      c: [d, e]", ""].join(
			"\n",
		),
	);
});
