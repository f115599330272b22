/** Of a draft's record, beside what it has staged: its id and which of them it is. */
export const recordName = /^([0-9a-f]{12}-\d+)\.(\d+)\.pending$/;
/** Of objects that are to go. */
export const removalName = /^[0-9a-f]{12}\.removals$/;

export function isRecordName(name: string): boolean {
	return recordName.test(name) || removalName.test(name);
}
