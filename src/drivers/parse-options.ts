import type * as z from "zod";
import { isSecret, schemaOf } from "../options/option.ts";
import { Secret } from "../secrets/secret.ts";
import { DriverFaults, type DriverFault, type Mount, type RawOptions } from "./driver.ts";
import { optionFault } from "./faults.ts";

/** What a driver finds wrong beyond what the types of its options say. */
export interface FaultFinders<Values> {
	/** Of the source, and of options together. */
	readonly faults?: ((mount: Mount, options: Values) => DriverFault[]) | undefined;
	/** Of each option by itself: also asked about those that are left when the types of others are wrong. */
	readonly optionFaults?: (options: Values) => DriverFault[];
}

/** The options by the driver's schema, or DriverFaults with everything that is wrong with them and with the source. */
export function parseOptions<Options extends z.ZodObject>(
	schema: Options,
	mount: Mount,
	raw: RawOptions,
	{ faults, optionFaults }: FaultFinders<z.output<Options>>,
): z.output<Options> {
	const given = Object.fromEntries(revealed(schema, raw));
	const parsed = schema.safeParse(given);
	const found: DriverFault[] = (parsed.error?.issues ?? []).map(({ path, message }) =>
		optionFault(String(path[0] ?? ""), message),
	);
	// A type that takes any option leaves that one out, and whoever wrote it would not be told.
	if (parsed.data !== undefined && Object.hasOwn(given, "__proto__"))
		found.push(optionFault("__proto__", "no option can be called that"));
	// Everything is looked at even when options are wrong, so that all faults come at once.
	const wrong = new Set(found.map(({ at }) => (at.kind === "option" ? at.name : "")));
	const options =
		parsed.data ?? schema.parse(Object.fromEntries(Object.entries(given).filter(([name]) => !wrong.has(name))));
	found.push(...(optionFaults?.(options) ?? []));
	if (parsed.data === undefined) found.push(...sourceFaults(faults?.(mount, schema.parse({}))));
	else found.push(...(faults?.(mount, parsed.data) ?? []));
	if (found.length > 0) throw new DriverFaults(found);
	return options;
}

/** Only options of the type secret know what one is. */
function revealed(schema: z.ZodObject, raw: RawOptions): [name: string, value: string | Secret][] {
	return Object.entries(raw).map(([name, value]) => {
		const option = schemaOf(schema, name);
		const isPlain = option === undefined || !isSecret(option);
		return [name, isPlain && value instanceof Secret ? value.reveal() : value];
	});
}

function sourceFaults(faults: DriverFault[] = []): DriverFault[] {
	return faults.filter(({ at }) => at.kind === "source");
}
