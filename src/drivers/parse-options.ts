import type * as z from "zod";
import { DriverFaults, type DriverFault, type Mount, type RawOptions } from "./driver.ts";

/** The options by the driver's schema, or DriverFaults with everything that is wrong with them and with the source. */
export function parseOptions<Options extends z.ZodObject>(
	schema: Options,
	mount: Mount,
	raw: RawOptions,
	faults?: (mount: Mount, options: z.output<Options>) => DriverFault[],
): z.output<Options> {
	const parsed = schema.safeParse(raw);
	const found: DriverFault[] = (parsed.error?.issues ?? []).map(({ path, message }) => ({
		at: { kind: "option", name: String(path[0] ?? "") },
		message,
	}));
	// The source is looked at even when options are wrong, so that all faults come at once.
	if (parsed.data === undefined) found.push(...sourceFaults(faults?.(mount, schema.parse({}))));
	else found.push(...(faults?.(mount, parsed.data) ?? []));
	if (parsed.data === undefined || found.length > 0) throw new DriverFaults(found);
	return parsed.data;
}

function sourceFaults(faults: DriverFault[] = []): DriverFault[] {
	return faults.filter(({ at }) => at.kind === "source");
}
