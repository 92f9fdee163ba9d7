"""What an existing Prisma project has of the Library's Systems: found by comparing, shown, never guessed."""
