export { folderStore } from './folder-store.ts'
export { postToMirror } from './mirror-url.ts'
export { type LogFinding, type LogFindingCode, monitorLog, type Watched, type WatchedEntry } from './monitor.ts'
export { storeOfLog, urlLog } from './url-log.ts'
