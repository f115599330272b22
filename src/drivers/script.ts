import * as z from "zod";
import { defineCommandDriver } from "./command.ts";
import { optionFault, sourceFault } from "./faults.ts";

/**
 * A storage vendor's own script, as images on Fluid's dynamic-mount base have one: called with source, target, filesystem type and
 * the file of its options, and in the foreground as long as it is mounted.
 */
export const script = defineCommandDriver({
	name: "script",
	// Whatever it serves, it has to be asked for.
	schemes: [],
	csiDrivers: ["*"],
	filesystemTypes: ["*", "fuse"],
	takesAnyOption: true,
	isTrustedWithReadOnly: false,
	options: z.looseObject({}),
	refusedOptions: {
		name: "the script finds the mount's name under it in its options file",
		access_mode: "the script finds rw or ro under it in its options file",
	},
	faults({ source, volume }, options) {
		if (volume !== undefined && "volume" in options)
			return [optionFault("volume", "the script finds the PersistentVolume under it")];
		if (source.startsWith("-")) return [sourceFault("must not begin with a dash")];
		// oxlint-disable-next-line no-control-regex -- control characters are what is looked for
		return /[\u0000-\u001f\u007f]/.test(source) ? [sourceFault("must not contain control characters")] : [];
	},
	command(mount, options, { mountpoint, directory, variables = {} }) {
		const { source, readOnly, name = "", volume } = mount;
		// As the base has it: "unknown" for a source without a scheme.
		const scheme = /^([^/]+):\/\/[^]/.exec(source)?.[1] ?? "unknown";
		const optionsFile = `${directory}/options.json`;
		return {
			file: variables["FLUID_FUSE_SCRIPT"] ?? "/opt/mount.sh",
			args: [source, mountpoint, scheme, optionsFile],
			files: {
				"options.json": JSON.stringify({
					...options,
					name,
					access_mode: readOnly ? "ro" : "rw",
					...(volume !== undefined && { volume }),
				}),
			},
			// The image is the vendor's, and so are its variables.
			inherit: /./,
		};
	},
});
