export { type Database, openDatabase } from './database/database.ts'
export { ManagerError, type ManagerErrorCode } from './error.ts'
