import { shown } from "../../options/faults.ts";
import type { Rule, Rules } from "./csi-driver.ts";

export const unused = (why: string): Rule => ({ kind: "unused", why });
export const refused = (why: string): Rule => ({ kind: "refused", why });

/** One of our options; `write` makes our value of theirs, undefined where it is none. */
export function option(name: string, write: (value: string) => string | undefined = (value) => value): Rule {
	return {
		kind: "used",
		as: name,
		read(value, { options, faults }, at) {
			const written = write(value);
			if (written !== undefined) options.push({ name, value: written, at });
			else faults.push({ at, message: `found ${shown(value)}, which cannot become the option ${name}` });
		},
	};
}

export const yes = (): string => "true";

export const readOnly: Rule = {
	kind: "used",
	as: "read-only",
	read(_value, draft, at) {
		draft.readOnly ??= at;
	},
};

export const bucket: Rule = {
	kind: "used",
	as: "the bucket",
	read(value, draft) {
		draft.bucket = value;
	},
};

export const folder: Rule = {
	kind: "used",
	as: "the folder in the bucket",
	read(value, draft) {
		draft.prefix = withoutOuterSlashes(value);
	},
};

export function withoutOuterSlashes(path: string): string {
	return path.replaceAll(/^\/+|\/+$/g, "");
}

export const tuning = unused("how fast it is: our drivers have options of their own");
export const diagnosis = unused("our launcher writes the log");
export const cached = unused("where it is cached: give the native driver cache-dir and cache-size");
export const ofKubernetes = unused("Kubernetes' own");
export const byOthers = unused("applications may always use the mount; the modes of files and folders decide");

export const credentials = refused(
	"the storage pod has no such credentials: give access-key and secret-key in the Dataset",
);

export const ownership: Rules = {
	uid: option("uid"),
	gid: option("gid"),
	"dir-mode": option("dir-mode"),
	"file-mode": option("file-mode"),
};

/** What mount(8) knows. */
export const readOrWrite: Rules = {
	ro: readOnly,
	"read-only": readOnly,
	rw: unused("the Dataset's access modes decide"),
};

/** The program that the CSI driver mounts with. */
export function mounterOf(expected: readonly [string, string]): Rule {
	return {
		kind: "used",
		as: `${expected.join(" or ")}, whose files are objects as ours are; others are refused`,
		read(value, { faults }, at) {
			if (!["", ...expected].includes(value))
				faults.push({ at, message: `found ${shown(value)}, expected ${expected.join(" or ")}` });
		},
	};
}

export const kubernetesAttributes: Rules = { "storage.kubernetes.io/csiProvisionerIdentity": ofKubernetes };

/** umask of s3fs: what it takes from all. */
export const umask: Rule = {
	kind: "used",
	as: "dir-mode, file-mode",
	read(value, { options, faults }, at) {
		if (!/^0?[0-7]{3}$/.test(value)) {
			faults.push({ at, message: `found ${shown(value)}, expected an octal umask` });
			return;
		}
		const mask = Number.parseInt(value, 8);
		options.push({ name: "dir-mode", value: octal(0o777 & ~mask), at });
		options.push({ name: "file-mode", value: octal(0o777 & ~mask), at });
	},
};

/** With `-o` in front, as s3fs and those that were made of it take them. */
export const mountFlags: Rules = {
	"o ro": readOnly,
	"o umask": umask,
	"o uid": option("uid"),
	"o gid": option("gid"),
	"o allow_other": byOthers,
	"o nonempty": unused("the launcher mounts on an empty folder"),
};

const octal = (mode: number): string => `0${mode.toString(8).padStart(3, "0")}`;

export const flags: Rule = {
	kind: "used",
	as: "flags, below",
	read() {}, // They have rules of their own.
};
