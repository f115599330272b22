import type { DriverFault } from "./driver.ts";

export function sourceFault(message: string): DriverFault {
	return { at: { kind: "source" }, message };
}

export function optionFault(name: string, message: string): DriverFault {
	return { at: { kind: "option", name }, message };
}
