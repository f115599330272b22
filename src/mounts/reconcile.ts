/** One mount of a config, as far as two configs are compared by it. */
export interface MountSpec {
	/** Unique among the mounts of a config. */
	readonly name: string;
	/** Absolute path where applications see it; unique too. */
	readonly target: string;
	/** Tells everything else apart: driver, source, mode, options and the values of secrets. */
	readonly content: string;
}

/** One step from the mounts that run to those that are wanted. */
export type Action =
	/** `movedTo`: its content is mounted there by a later action. `isAround`: only because what it lies in changes. */
	| {
			readonly kind: "unmount";
			readonly name: string;
			readonly target: string;
			readonly movedTo?: string;
			readonly isAround?: true;
	  }
	/** Another name, the same place: nothing happens to it. */
	| { readonly kind: "rename"; readonly name: string; readonly target: string; readonly from: string }
	/** The same name and place, another content. */
	| { readonly kind: "change"; readonly name: string; readonly target: string }
	| {
			readonly kind: "mount";
			readonly name: string;
			readonly target: string;
			readonly movedFrom?: string;
			readonly isAround?: true;
	  };

/**
 * What to do, in order: inner mounts go before outer ones and come after them. A mount that is wanted as it runs has no action,
 * unless `stacked` mounts lie in another one that comes or goes, which would hide them: then they go and come back with it.
 */
export function reconcile(
	running: readonly MountSpec[],
	wanted: readonly MountSpec[],
	nesting: "stacked" | "folders" = "stacked",
): Action[] {
	const unmounts: Extract<Action, { kind: "unmount" }>[] = [];
	const changes: Action[] = [];
	const mounts: Extract<Action, { kind: "mount" }>[] = [];
	const byTarget = new Map(running.map((mount) => [mount.target, mount]));
	const kept: { readonly before: MountSpec; readonly after: MountSpec }[] = [];
	const added: MountSpec[] = [];
	for (const after of wanted) {
		const before = byTarget.get(after.target);
		if (before === undefined) added.push(after);
		else kept.push({ before, after });
		byTarget.delete(after.target);
	}
	// What is left of the running ones has no place any more; some of it has another one.
	const removed = new Set(byTarget.values());
	// The first of them last, to be taken from there.
	const lastFirst = [...removed].toReversed();
	const byName = Map.groupBy(lastFirst, (mount) => mount.name);
	const byContent = Map.groupBy(lastFirst, (mount) => mount.content);
	const firstOf = (mounts: MountSpec[] = []): MountSpec | undefined => {
		for (let first = mounts.at(-1); first !== undefined; first = mounts.at(-1)) {
			if (removed.has(first)) return first;
			mounts.pop();
		}
		return undefined;
	};
	for (const { name, target, content } of added) {
		const from = firstOf(byName.get(name)) ?? firstOf(byContent.get(content));
		if (from === undefined) mounts.push({ kind: "mount", name, target });
		else {
			removed.delete(from);
			unmounts.push({ kind: "unmount", name: from.name, target: from.target, movedTo: target });
			mounts.push({ kind: "mount", name, target, movedFrom: from.target });
		}
	}
	for (const { name, target } of removed) unmounts.push({ kind: "unmount", name, target });

	const gone = new Set(unmounts.map(({ target }) => target));
	const come = new Set(mounts.map(({ target }) => target));
	for (const { before, after } of kept.toSorted((a, b) => outerFirst(a.after, b.after))) {
		const { name, target } = after;
		const isHidden = nesting === "stacked" && outerTargets(target).some((outer) => gone.has(outer) || come.has(outer));
		if (isHidden) {
			gone.add(target);
			unmounts.push({ kind: "unmount", name: before.name, target, isAround: true });
			mounts.push({ kind: "mount", name, target, isAround: true });
			continue;
		}
		if (before.name !== name) changes.push({ kind: "rename", name, target, from: before.name });
		if (before.content !== after.content) changes.push({ kind: "change", name, target });
	}
	return [...unmounts.toSorted((a, b) => outerFirst(b, a)), ...changes, ...mounts.toSorted(outerFirst)];
}

/** Whether one lies in the other, or both are the same place. */
export function overlap(a: string, b: string): boolean {
	return a === b || a.startsWith(`${b}/`) || b.startsWith(`${a}/`);
}

function outerFirst(a: { readonly target: string }, b: { readonly target: string }): number {
	return depth(a.target) - depth(b.target) || (a.target < b.target ? -1 : 1);
}

function depth(target: string): number {
	return target.split("/").length;
}

/** `/a` and `/a/b` for `/a/b/c`. */
function outerTargets(target: string): string[] {
	const parts = target.split("/").slice(1);
	return parts.slice(0, -1).map((_, index) => `/${parts.slice(0, index + 1).join("/")}`);
}
