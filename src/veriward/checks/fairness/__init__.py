"""Do groups of people fare alike?"""
