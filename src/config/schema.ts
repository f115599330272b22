import * as z from "zod";
import { sizeInBytes } from "../options/option.ts";

/** Kubernetes' access modes; `accessModes` of the Dataset. */
export const accessModes = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"] as const;

/** A map as Go writes it: absent or null when empty. A Map, because a key may be `__proto__`. */
const optionMap = z
	.custom<Record<string, unknown>>((value) => typeof value === "object" && value !== null && !Array.isArray(value), {
		error: "expected an object of strings",
	})
	.nullish()
	.transform((value, context) => {
		const options = new Map<string, string>();
		for (const [key, entry] of Object.entries(value ?? {})) {
			if (typeof entry === "string") options.set(key, entry);
			else
				context.addIssue({
					code: "custom",
					path: [key],
					message: `expected a string, found ${entry === null ? "null" : typeof entry}`,
				});
		}
		return options;
	})
	.meta({ optionMap: true, description: "Options: string to string." });

const text = z
	.string()
	.nullish()
	.transform((value) => value ?? "");

/** One level of a CacheRuntime's tiered store: each place with its quota. */
const tieredStoreLevel = z.object({
	mountPaths: z
		.array(z.string())
		.nullish()
		.transform((paths) => paths ?? [])
		.describe("Where its places are in the container."),
	quotas: z
		.array(sizeInBytes)
		.nullish()
		.transform((quotas) => quotas ?? [])
		.describe("How much of each may be filled."),
	mediumType: text.describe("MEM, or a disk of some kind."),
	high: z
		.string()
		.regex(/^(0?\.\d{1,9}|0|1(\.0{1,9})?)?$/, { error: "expected a ratio from 0 to 1, such as 0.9" })
		.nullish()
		.transform((ratio) => (ratio === "" || ratio === null || ratio === undefined ? 1 : Number(ratio)))
		.describe("The part of a quota that a cache may fill."),
	low: text.describe("Has no effect: what was not used for longest goes first, part by part."),
});

/**
 * Fluid's config file, `config.json` of a ThinRuntime or `runtime.json` of a CacheRuntime. Fields that Fluid may add
 * later are ignored; those that are read are checked strictly.
 */
export const fluidFile = z.object({
	mounts: z
		.array(
			z.object({
				mountPoint: z.string().min(1).describe("What to mount, such as s3://bucket/prefix."),
				options: optionMap,
				encryptOptions: optionMap.describe("CacheRuntime only: options whose values are paths of secret files."),
				name: text.describe("The mount's name; the folder's name in the named layout."),
				path: text.describe("The folder below targetPath in the named layout, instead of the name."),
				readOnly: z
					.boolean()
					.nullish()
					.transform((value) => value ?? false)
					.describe("Read-only, whatever the access modes and options say."),
				shared: z.boolean().nullish().describe("Fluid's own: ignored."),
			}),
		)
		.nullish()
		.transform((mounts) => mounts ?? [])
		.describe("What to mount, in the Dataset's order."),
	targetPath: z.string().nullish().describe("Where applications find the data; MOUNT_POINT when absent."),
	runtimeOptions: optionMap.describe("Options for every mount, below the mount's own."),
	client: z
		.object({
			options: optionMap.describe("Options for every mount, below the mount's own."),
			tieredStoreLevels: z
				.array(tieredStoreLevel)
				.nullish()
				.transform((levels) => levels ?? [])
				.describe("Places for a cache, below all options."),
		})
		.nullish()
		.describe("CacheRuntime only: what its client is given."),
	accessModes: z
		.array(z.enum(accessModes))
		.nullish()
		.transform((modes) =>
			modes === null || modes === undefined || modes.length === 0 ? (["ReadOnlyMany"] as const) : modes,
		)
		.describe("Of the Dataset; ReadOnlyMany when absent, and wherever it is among them the mounts are read-only."),
	// What they hold is in persistent-volume.ts.
	persistentVolumeAttrs: z.unknown().optional(),
	persistentVolumeMountOptions: z.unknown().optional(),
});

export type FluidFile = z.output<typeof fluidFile>;
/** One of its mounts. */
export type FileMount = FluidFile["mounts"][number];
