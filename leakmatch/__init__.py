"""LeakMatch: who of the people we protect is in this seized face dataset, and how sure are we?"""
