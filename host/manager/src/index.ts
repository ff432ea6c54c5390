export { type Config, type ConfigInput, parseConfig, readConfig } from './config.ts'
export { type Database, openDatabase } from './database/database.ts'
export { ManagerError, type ManagerErrorCode } from './error.ts'
export { type RunningManager, startManager } from './manager.ts'
