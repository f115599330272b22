import type { PartGrid } from "./part-grid.ts";

/** How one or more neighbouring parts of the grid get into a multipart upload, as the part numbered `index + 1`. */
export type CommitStep =
	/** It is there already. */
	| { readonly kind: "keep"; readonly index: number }
	/** Sent from here, completed with what the object has or zeros. */
	| { readonly kind: "upload"; readonly index: number; readonly sizeBytes: number }
	/** The server copies it from the object. Not below a part's size, unless it is the end of the file. */
	| { readonly kind: "copy"; readonly index: number; readonly offset: number; readonly sizeBytes: number };

export interface DraftShape {
	readonly grid: PartGrid;
	/** Of the file. */
	readonly sizeBytes: number;
	/** As far as the object's content is the file's, where nothing was changed. */
	readonly baseBytes: number;
	/** Undefined: nothing of the part was changed. */
	readonly stateOf: (index: number) => { readonly uploadedBytes: number | undefined } | undefined;
}

/** The steps that make the file from what is here, what was uploaded and the object; they cover it in order and without gaps. */
export function planCommit({ grid, sizeBytes, baseBytes, stateOf }: DraftShape): CommitStep[] {
	const steps: CommitStep[] = [];
	let offset = 0;
	for (let index = 0; offset < sizeBytes; index++) {
		const partBytes = Math.min(grid.sizeOf(index), sizeBytes - offset);
		const state = stateOf(index);
		const previous = steps.at(-1);
		if (state !== undefined) {
			steps.push(
				state.uploadedBytes === partBytes ? { kind: "keep", index } : { kind: "upload", index, sizeBytes: partBytes },
			);
		} else if (offset + partBytes > baseBytes) {
			steps.push({ kind: "upload", index, sizeBytes: partBytes });
		} else if (previous?.kind === "copy" && previous.sizeBytes + partBytes <= grid.copyBytes) {
			steps[steps.length - 1] = { ...previous, sizeBytes: previous.sizeBytes + partBytes };
		} else {
			steps.push({ kind: "copy", index, offset, sizeBytes: partBytes });
		}
		offset += partBytes;
	}
	return steps;
}

/** A copy as one for each part of the grid, for servers that want every part number. */
export function withoutJoins(grid: PartGrid, step: CommitStep & { readonly kind: "copy" }): CommitStep[] {
	let { offset } = step;
	return withoutCopy(grid, step).map(({ index, sizeBytes }) => {
		const copy = { kind: "copy", index, offset, sizeBytes } as const;
		offset += sizeBytes;
		return copy;
	});
}

/** A copy as the uploads that do the same, for servers that cannot copy. */
export function withoutCopy(
	grid: PartGrid,
	step: CommitStep & { readonly kind: "copy" },
): (CommitStep & { readonly kind: "upload" })[] {
	const steps: (CommitStep & { readonly kind: "upload" })[] = [];
	const end = step.offset + step.sizeBytes;
	let { index } = step;
	for (let { offset } = step; offset < end; offset += grid.sizeOf(index++)) {
		steps.push({ kind: "upload", index, sizeBytes: Math.min(grid.sizeOf(index), end - offset) });
	}
	return steps;
}
