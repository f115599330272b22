import { didYouMean, shown } from "../../options/faults.ts";
import { ofKubernetes } from "./common-rules.ts";
import type { Draft, Rules } from "./csi-driver.ts";
import { csiDrivers, s3CsiDrivers } from "./index.ts";
import { flagsOf } from "./flags.ts";
import type { InVolume, ReadVolume, Volume, VolumeOption } from "./volume.ts";

/**
 * The bucket and the options of a volume that one of them provisioned. `translate` makes the driver's own options of those
 * under the native driver's names.
 */
export function readS3Volume(
	volume: Volume,
	translate: (options: ReadonlyMap<string, string>) => ReadonlyMap<string, string> = (options) => options,
): ReadVolume {
	const driver = csiDrivers[volume.driver];
	if (driver === undefined) throw new TypeError(`${volume.driver} is none of ${s3CsiDrivers.join(", ")}`);
	const draft: Draft = {
		bucket: "",
		prefix: "",
		options: [],
		unused: [],
		faults: [],
		writeFaults: [],
		seen: new Set(),
	};
	const { attributes, mountOptions, secretFolder } = volume;
	if (secretFolder !== undefined) {
		for (const { key, option: name, isPlain = false } of driver.keys)
			draft.options.push({ name, value: `${secretFolder}/${key}`, at: { kind: "secret", key }, isPlain });
	}
	for (const [name, value] of Object.entries(attributes))
		apply(driver.attributes, name, value, draft, { kind: "attribute", name });
	for (const [name, value] of flagsOf(attributes[driver.flagsIn] ?? ""))
		apply(driver.flags, name, value, draft, { kind: "attribute", name: driver.flagsIn });
	for (const [index, text] of mountOptions.entries()) {
		const [, name = "", value = ""] = /^(?:--?)?([^\s=]*)(?:\s*=\s*|\s+)?(.*)$/s.exec(text.trim()) ?? [];
		apply(driver.mountOptions, name, value, draft, { kind: "mountOption", index });
	}
	driver.source(volume, draft);
	const { bucket: name, prefix: folder, readOnly: readOnlyAt, unused: ignored, faults, writeFaults } = draft;
	return {
		source: folder === "" ? `s3://${name}` : `s3://${name}/${folder}`,
		options: translated(draft.options, translate),
		...(readOnlyAt !== undefined && { readOnly: readOnlyAt }),
		unused: ignored,
		faults,
		writeFaults,
		secretChecks:
			secretFolder === undefined
				? []
				: Object.entries(driver.checkedKeys ?? {}).map(([key, faultOf]) => ({
						at: { kind: "secret", key },
						file: `${secretFolder}/${key}`,
						faultOf: (content) => faultOf(content, volume),
					})),
	};
}

function apply(rules: Rules, name: string, value: string, draft: Draft, at: InVolume): void {
	draft.seen.add(name);
	const own = Object.hasOwn(rules, name) ? rules[name] : undefined;
	// What the storage class says about its own Secrets and the pod is no business of the volume.
	const rule = own ?? (at.kind === "attribute" && name.startsWith("csi.storage.k8s.io/") ? ofKubernetes : undefined);
	if (rule === undefined)
		draft.faults.push({ at, message: `${shown(name)} is not known${didYouMean(name, Object.keys(rules))}` });
	else if (rule.kind === "used") rule.read(value, draft, at);
	else if (rule.kind === "unused") draft.unused.push({ at, why: `${name}: ${rule.why}` });
	else draft.faults.push({ at, message: `${name} is refused: ${rule.why}` });
}

/** The last of a name holds. What is a Secret's key is passed on as it is. */
function translated(
	options: readonly VolumeOption[],
	translate: (options: ReadonlyMap<string, string>) => ReadonlyMap<string, string>,
): VolumeOption[] {
	const last = new Map(options.map((given) => [given.name, given]));
	const fromSecret = [...last.values()].filter(({ at }) => at.kind === "secret");
	const others = [...last.values()].filter(({ at }) => at.kind !== "secret");
	const [first] = others;
	if (first === undefined) return fromSecret;
	const renamed = [...translate(new Map(others.map(({ name, value }) => [name, value])))].map(([name, value]) => ({
		name,
		value,
		// One that the driver calls otherwise stands where the first of them does.
		at: (last.get(name) ?? first).at,
	}));
	return [...fromSecret, ...renamed];
}
